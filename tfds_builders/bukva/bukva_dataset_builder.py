"""Builder of Bukva: the 33 letters of the Russian fingerspelling alphabet."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import ClassVar

from tfds_builders import public_dataset
from tfds_builders.bukva import index
from tfds_builders.listing import Listing

_UPSTREAM = "34 labels, as in the reference: 0 is no_event, which no clip has."


class Builder(public_dataset.PublicDatasetBuilder):
    """Builder of `trimmed` and `original`; see README.md."""

    NUM_CLIPS: ClassVar = index.NUM_CLIPS
    BUILDER_CONFIGS: ClassVar = [
        *public_dataset.configs({"trimmed": "Clips cut to the letter."}, upstream=_UPSTREAM),
        *public_dataset.configs(
            {"original": "The letter's frames, `begin` to `end`, of the uncut clips."},
            upstream=_UPSTREAM,
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "--manual_dir is the folder that bukva.zip was unpacked into: annotations.tsv, trimmed/ "
        "and original/."
    )

    def _label_names(self) -> list[str]:
        return index.label_names(upstream=self.builder_config.upstream_labels)

    def _read(self, folder: Path, files: Sequence[Path]) -> Listing:
        return index.read(folder, files, self.builder_config.variant, self._num_clips)

    def _is_part(self, way: Sequence[str], own: Set[str], siblings: Set[str]) -> bool:
        return index.is_part(way, own, siblings)
