"""Leave-one-signer-out splits of a dataset."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from dstadapter_jax.data.clip_dataset import ClipDataset, Place, Records
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.errors import ConfigError, UserError


def all_signers(dataset: ClipDataset) -> list[str]:
    """Known signers of all splits, sorted."""
    return sorted(set().union(*dataset.signers.values()))


def leave_one_out(dataset: ClipDataset, test_signer: str) -> ClipDataset:
    """Regroup clips: one signer for test, the next for validation, all others for training.

    The next signer follows in sorted order; the first follows the last. Over all folds each signer
    is once the test signer and once the validation signer. The original splits are ignored.

    Raises:
        UserError: There is no such signer, there are fewer than three, or clips have no signer.
    """
    signers, where = all_signers(dataset), dataset.builder.data_dir
    known = ", ".join(signers) or "none"
    if len(signers) < len(SPLITS):
        expected = f"at least {len(SPLITS)} signers, for training, validation and test"
        raise UserError(str(where), expected=expected, found=known)
    if test_signer not in signers:
        raise ConfigError(
            "config.data.test_signer",
            expected=f"one of {known}, the signers in {where}",
            found=repr(test_signer),
        )
    following = signers[(signers.index(test_signer) + 1) % len(signers)]
    split_of = dict.fromkeys(signers, "train") | {following: "validation", test_signer: "test"}
    places: dict[str, list[Place]] = {split: [] for split in SPLITS}
    for stored, clip_signers in _signers_by_record(str(where)).items():
        for number, signer in enumerate(clip_signers):
            places[_split(split_of, signer, where)].append((stored, number))
    return dataclasses.replace(
        dataset,
        num_clips={split: len(clips) for split, clips in places.items()},
        metadata=_regroup(dataset.metadata, split_of, where),
        places=places,
    )


def _split(split_of: Mapping[str, str], signer: str, where: str) -> str:
    if signer not in split_of:
        raise UserError(
            str(where),
            expected="the signer of every clip",
            found="clips without a signer",
            advice="Add the signers to the dataset's lists and build it again.",
        )
    return split_of[signer]


def _regroup(
    metadata: Mapping[str, Any], split_of: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Signers and missing clips by the new splits."""
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
def _signers_by_record(folder: str) -> dict[str, list[str]]:
    """Signer of each record by stored split; reads all records, a second per 300 MB."""
    builder = tfds.builder_from_directory(folder)
    total = sum(info.num_examples for info in builder.info.splits.values())
    signers: dict[str, list[str]] = {}
    with tqdm(total=total, desc="signers", unit="clip", disable=None, leave=False) as progress:
        for split in builder.info.splits:
            records, signers[split] = Records(builder, split), []
            for number in range(len(records)):
                signers[split].append(records[number]["signer"].decode())
                progress.update()
    return signers
