"""Builder of AUTSL: 226 signs of Turkish Sign Language."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import ClassVar

from tfds_builders import public_dataset
from tfds_builders.autsl import index
from tfds_builders.listing import Listing


class Builder(public_dataset.PublicDatasetBuilder):
    """Builder of `rgb`; see README.md."""

    NUM_CLIPS: ClassVar = index.NUM_CLIPS
    BUILDER_CONFIGS: ClassVar = public_dataset.configs({"rgb": "The color videos."})
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is the folder of the unpacked videos, signer0_sample1_color.mp4 and so on, "
        "and of the three label files. The parts of an archive are unpacked together, with the "
        "password that the dataset's authors give: 7z x train_set_vfbha39.zip.001"
    )

    def _label_names(self) -> list[str]:
        return index.label_names()

    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        return index.read(folder, files, self._num_clips)

    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        return index.is_part(way, own, siblings)
