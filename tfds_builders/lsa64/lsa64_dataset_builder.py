"""Builder of LSA64: 64 signs of Argentine Sign Language."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import ClassVar

from tfds_builders import public_dataset
from tfds_builders.listing import Listing
from tfds_builders.lsa64 import index


class Builder(public_dataset.PublicDatasetBuilder):
    """Builder of the three splits of `index.METHODS`; see README.md."""

    BUILDER_CONFIGS: ClassVar = public_dataset.configs(
        index.METHODS, upstream="65 labels, as in the reference: 0 is unused."
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is the folder that the archive `cut` (or `raw`) of "
        "https://facundoq.github.io/datasets/lsa64/ was unpacked into: 3,200 files from "
        "001_001_001.mp4 to 064_010_005.mp4, in subfolders or not."
    )

    def _label_names(self) -> list[str]:
        return index.label_names(upstream=self.builder_config.upstream_labels)

    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        return index.read(folder, files, self.builder_config.variant)

    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        return index.is_part(way, own, siblings)
