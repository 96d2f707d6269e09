"""Leave-one-signer-out splits of a dataset."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from dstadapter_jax.data.clip_dataset import ClipDataset, Place, _Records
from dstadapter_jax.data.splits import SPLITS


def all_signers(dataset: ClipDataset) -> list[str]:
    """The known signers of all splits, sorted."""
    return sorted(set().union(*dataset.signers.values()))


def leave_one_out(dataset: ClipDataset, test_signer: str) -> ClipDataset:
    """Regroups a dataset's clips: one signer is the test, the next one validation.

    The next one in the sorted order, and the first one after the last: in turn each signer is once
    the test and once validation. All others' clips are for training, whatever split they were in.

    Raises:
        ValueError: There is no such signer, there are fewer than three, or clips lack theirs.
    """
    signers, where = all_signers(dataset), dataset.builder.data_dir
    known = ", ".join(signers) or "none"
    if len(signers) < len(SPLITS):
        raise ValueError(
            f"{where}: leaving one signer out needs at least {len(SPLITS)}, to train, validate and"
            f" test on, found {known}."
        )
    if test_signer not in signers:
        raise ValueError(
            f"config.data.test_signer: expected one of {known}, whose clips are in {where}, found"
            f" {test_signer!r}."
        )
    following = signers[(signers.index(test_signer) + 1) % len(signers)]
    split_of = dict.fromkeys(signers, "train") | {following: "validation", test_signer: "test"}
    places: dict[str, list[Place]] = {split: [] for split in SPLITS}
    for stored, of_clips in _signers_of_clips(str(where)).items():
        for number, signer in enumerate(of_clips):
            places[_split(split_of, signer, where)].append((stored, number))
    return dataclasses.replace(
        dataset,
        num_clips={split: len(clips) for split, clips in places.items()},
        metadata=_regroup(dataset.metadata, split_of, where),
        places=places,
    )


def _split(split_of: Mapping[str, str], signer: str, where: str) -> str:
    if signer not in split_of:
        raise ValueError(
            f"{where}: leaving one signer out needs the signer of every clip, and of some it isn't"
            " recorded. Name them in the lists that it is built of, and build it again."
        )
    return split_of[signer]


def _regroup(
    metadata: Mapping[str, Any], split_of: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Who is where, and the clips that are lacking, by the new splits."""
    if any(metadata.get("num_unlisted", {}).values()):
        _split(split_of, "", where)
    regrouped: dict[str, Any] = {
        "signers": {split: [s for s, of in split_of.items() if of == split] for split in SPLITS}
    }
    for name in ("missing", "missing_clip_labels", "missing_clip_signers"):
        regrouped[name] = {split: {} for split in SPLITS}
        for stored, clips in metadata.get(name, {}).items():
            signer_of = metadata.get("missing_clip_signers", {}).get(stored, {})
            for clip, value in clips.items():
                regrouped[name][_split(split_of, signer_of.get(clip, ""), where)][clip] = value
    return regrouped


@functools.lru_cache(maxsize=1)  # for the next fold of the same dataset
def _signers_of_clips(folder: str) -> dict[str, list[str]]:
    """Who signs each clip, by stored split. Reads every record once, as an epoch of training does.

    A second of 300 MB, and pixels aren't decoded.
    """
    builder = tfds.builder_from_directory(folder)
    total = sum(info.num_examples for info in builder.info.splits.values())
    signers: dict[str, list[str]] = {}
    with tqdm(total=total, desc="signers", unit="clip", disable=None, leave=False) as progress:
        for split in builder.info.splits:
            records, signers[split] = _Records(builder, split), []
            for number in range(len(records)):
                signers[split].append(records[number]["signer"].decode())
                progress.update()
    return signers
