"""Leave-one-signer-out cross-validation."""

import hashlib
import json
import logging
import pathlib
import urllib.parse
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.signer_folds import all_signers, leave_one_out
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.report.signers_page import render
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.resume import check_same_config
from dstadapter_jax.training.workdir import lock_workdir

logger = logging.getLogger(__name__)

NAME = "leave_one_signer_out"


MAX_NAME_BYTES = 200  # bytes of a folder's name; most file systems allow 255


def fold_name(signer: str) -> str:
    """The name of a signer's workdir, in which no character means anything to a file system."""
    quoted = urllib.parse.quote(signer, safe="")
    if len(quoted) > MAX_NAME_BYTES:
        quoted = f"{quoted[:100]}-{hashlib.sha256(signer.encode()).hexdigest()}"
    return f"signer_{quoted}"


def cross_validate(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains and tests for each signer, unless that was done before.

    Args:
        config: As `configs/common.py` describes it.
        workdir: Made if it isn't there.

    Returns:
        What `leave_one_signer_out.json` holds.

    Raises:
        ValueError: The dataset can't be regrouped, or the folder holds something else.
        Interrupted: A signal ended it; where it stands is saved.
    """
    if config.data.test_signer:
        raise ValueError(
            "config.data.test_signer: expected empty, since each signer is left out in turn, found"
            f" {config.data.test_signer!r}."
        )
    dataset = open_dataset(config.data.name, config.data.dir)
    signers = all_signers(dataset)
    leave_one_out(dataset, signers[0] if signers else "")  # now, if it can't be done
    with lock_workdir(workdir):
        done = _read_done(workdir, dataset)
        for number, signer in enumerate(signers, start=1):
            fold, folder = _fold_config(config, signer), workdir / fold_name(signer)
            if signer in done:
                check_same_config(folder, _read_json(folder / "config.json"), fold.to_dict())
                continue
            logger.info("signer %d of %d: %s, in %s", number, len(signers), signer, folder)
            done[signer] = train_and_evaluate(fold, folder)
            _write(workdir, dataset, done)
    return _write(workdir, dataset, done)


def _fold_config(config: ConfigDict, signer: str) -> ConfigDict:
    fold = config.copy_and_resolve_references()
    fold.data.test_signer = signer
    return fold


def _read_done(workdir: pathlib.Path, dataset: ClipDataset) -> dict[str, dict[str, Any]]:
    """Results by signer, of those that were trained before."""
    path = workdir / f"{NAME}.json"
    if not path.exists():
        return {}
    found = _read_json(path)
    for what, there, here in (
        ("signers", found.get("all_signers"), all_signers(dataset)),
        ("clips", found.get("num_clips"), dataset.num_clips),
    ):
        if there != here:
            raise ValueError(
                f"{path}: {what}: expected {here!r}, those of {dataset.builder.data_dir}, found"
                f" {there!r}. Say where the dataset is that it began with, --config.data.dir=OUT,"
                " or choose another --workdir."
            )
    return found["signers"]


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: can't be read: {error}. Remove {path.parent} to train anew, or bring it back."
        ) from error


def summarize(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean over signers of each figure, its interval, and the worst signer."""
    figures = np.array([[of[name] for name in bootstrap.METRICS] for of in done.values()])
    intervals = bootstrap.mean_intervals(figures)
    return {
        "mean": dict(zip(bootstrap.METRICS, figures.mean(axis=0).tolist(), strict=True)),
        "intervals": {
            "level": bootstrap.LEVEL,
            "method": bootstrap.METHOD,
            "over_signers": dict(zip(bootstrap.METRICS, intervals, strict=True)),
        },
        "worst_signer": min(done, key=lambda signer: done[signer]["top1"]),
    }


def _write(
    workdir: pathlib.Path, dataset: ClipDataset, done: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Writes what is known by now; returns it."""
    result = {
        **summarize(done),
        "signers": done,
        "all_signers": all_signers(dataset),
        "num_clips": dataset.num_clips,
    }
    atomic_write(workdir / f"{NAME}.json", json.dumps(result) + "\n")
    folders = {signer: fold_name(signer) for signer in done}
    atomic_write(workdir / f"{NAME}.html", render(result, folders))
    return result
