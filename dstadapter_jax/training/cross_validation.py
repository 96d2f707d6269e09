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
from dstadapter_jax.errors import ConfigError, UserError
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.report.signers_page import render_signers
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.training.loop import train_and_evaluate
from dstadapter_jax.training.resume import check_same_run
from dstadapter_jax.training.workdir import lock_workdir

logger = logging.getLogger(__name__)

NAME = "leave_one_signer_out"
MAX_NAME_BYTES = 200  # most file systems allow 255 bytes in a folder's name

Results = dict[str, dict[str, Any]]  # content of `eval_test.json` by signer


def cross_validate(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    """Train and test one fold per signer; finished folds are kept.

    Args:
        config: Config with the fields of `configs/common.py`.
        workdir: Folder for the folds' workdirs and the results; created if missing.

    Returns:
        Results over all folds, the content of `leave_one_signer_out.json`.

    Raises:
        UserError: The dataset can't be split by signer, or the folder holds another run.
        Interrupted: A signal ended the run; its state is saved.
    """
    if config.data.test_signer:
        raise ConfigError(
            "config.data.test_signer",
            expected="an empty value, since each signer is left out in turn",
            found=repr(config.data.test_signer),
        )
    dataset = open_dataset(config.data.name, config.data.dir)
    signers = all_signers(dataset)
    leave_one_out(dataset, signers[0] if signers else "")  # raises before anything is written
    with lock_workdir(workdir):
        results = _read_results(workdir, dataset)
        for number, signer in enumerate(signers, start=1):
            fold, folder = config.copy_and_resolve_references(), workdir / fold_name(signer)
            fold.data.test_signer = signer
            if signer in results:
                saved = _read_json(folder / "config.json")
                check_same_run(folder, {"config": saved}, {"config": fold.to_dict()})
                continue
            logger.info("signer %d of %d: %s, in %s", number, len(signers), signer, folder)
            results[signer] = train_and_evaluate(fold, folder)
            _write(workdir, dataset, results)
    return _write(workdir, dataset, results)


def fold_name(signer: str) -> str:
    """Folder name of a signer's fold, percent-encoded and shortened for the file system."""
    quoted = urllib.parse.quote(signer, safe="")
    if len(quoted) > MAX_NAME_BYTES:
        quoted = f"{quoted[:100]}-{hashlib.sha256(signer.encode()).hexdigest()}"
    return f"signer_{quoted}"


def _read_results(workdir: pathlib.Path, dataset: ClipDataset) -> Results:
    """Results of the folds that are finished."""
    path = workdir / f"{NAME}.json"
    if not path.exists():
        return {}
    saved = _read_json(path)
    for field, expected in (
        ("all_signers", all_signers(dataset)),
        ("num_clips", dataset.num_clips),
    ):
        if saved.get(field) != expected:
            raise UserError(
                f"{path}: {field}",
                expected=f"{expected!r}, as in {dataset.builder.data_dir}",
                found=repr(saved.get(field)),
                advice="Pass the folder of the original dataset, --config.data.dir=OUT, or choose"
                " another --workdir.",
            )
    return saved["signers"]


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            str(path),
            problem=f"can't be read: {error}",
            advice=f"Restore it, or remove {path.parent} to train again.",
        ) from error


def summarize(results: Results) -> dict[str, Any]:
    """Means of the metrics over signers, their confidence intervals, and the worst signer."""
    values = np.array([[fold[name] for name in bootstrap.METRICS] for fold in results.values()])
    intervals = bootstrap.mean_intervals(values)
    return {
        "mean": dict(zip(bootstrap.METRICS, values.mean(axis=0).tolist(), strict=True)),
        "intervals": {
            "level": bootstrap.LEVEL,
            "method": bootstrap.METHOD,
            "over_signers": dict(zip(bootstrap.METRICS, intervals, strict=True)),
        },
        "worst_signer": min(results, key=lambda signer: results[signer]["top1"]),
    }


def _write(workdir: pathlib.Path, dataset: ClipDataset, results: Results) -> dict[str, Any]:
    """Write the results so far as JSON and as a page; returns the JSON object."""
    summary = {
        **summarize(results),
        "signers": results,
        "all_signers": all_signers(dataset),
        "num_clips": dataset.num_clips,
    }
    atomic_write(workdir / f"{NAME}.json", json.dumps(summary) + "\n")
    folders = {signer: fold_name(signer) for signer in results}
    atomic_write(workdir / f"{NAME}.html", render_signers(summary, folders))
    return summary
