"""Listings of published datasets, from names of files that do not exist."""

from collections.abc import Iterable
from pathlib import Path

from dstadapter_jax.data.splits import SPLITS
from tfds_builders.listing import Listing

FOLDER = Path("/dataset")  # does not exist: an index reads names only


def sizes(listing: Listing) -> list[int]:
    """Numbers of clips found in train, validation and test."""
    return [len(listing.found[split]) for split in SPLITS]


def below(names: Iterable[str]) -> list[Path]:
    """Paths in `FOLDER`."""
    return [FOLDER / name for name in names]
