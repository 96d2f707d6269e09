"""Builder of INCLUDE: 263 signs of Indian Sign Language."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import ClassVar

from tfds_builders import public_dataset
from tfds_builders.include import index
from tfds_builders.listing import Listing


class Builder(public_dataset.PublicDatasetBuilder):
    """Builder of `full` and `include50`; see README.md."""

    BUILDER_CONFIGS: ClassVar = public_dataset.configs(
        {"full": "All 263 words.", "include50": "50 words, with splits of their own."}
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is the folder that the 44 zip files of https://zenodo.org/records/4010759 "
        "were unpacked into: CATEGORY/NUMBER. WORD/MVI_1234.MOV."
    )

    def _label_names(self) -> list[str]:
        return index.label_names(self.builder_config.variant)

    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        return index.read(folder, files, self.builder_config.variant)

    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        return index.is_part(way, own, siblings)
