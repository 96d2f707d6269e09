"""Resuming a run: which checkpoint, and whether config, batch, backbone and dataset are its own."""

import json
import logging
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from dstadapter_jax.checkpoints.integrity import QUARANTINE, CorruptCheckpointError
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.errors import ConfigError, UserError
from dstadapter_jax.parallel.hosts import all_gather_json
from dstadapter_jax.training.config_checks import (
    DATASET,
    RESUME_IGNORED_FIELDS,
    allowed_changes,
    flat_fields,
)
from dstadapter_jax.training.trainer import Trainer

logger = logging.getLogger(__name__)

# Fields that may differ between the processes of a run: places on their machines.
PER_HOST_FIELDS = (
    *("data.dir", "data.num_threads", "data.decoder", "pretrained", "pretrained_revision"),
    "wandb_project",
)
# All other fields of `config.model`, and the seed, determine random weights.
NON_INIT_FIELDS = ("model.dropout", "model.dtype", "model.remat")


def restore_latest(trainer: Trainer, checkpoints: Checkpointer) -> None:
    """Restore the newest checkpoint that is not corrupt, if there is any.

    With several processes a corrupt checkpoint ends the run: one alone may fail to read it, and the
    processes would continue from different states.

    Raises:
        CorruptCheckpointError: All checkpoints are corrupt, or all were quarantined before.
        UserError: The workdir holds another run.
    """
    corrupt: dict[int, CorruptCheckpointError] = {}
    steps, folder = checkpoints.steps(), trainer.workdir / QUARANTINE
    if not steps and folder.exists():
        raise CorruptCheckpointError(
            str(trainer.workdir),
            problem=f"all checkpoints are corrupt (see {folder})",
            advice="Use a new --workdir to start over, or move that folder elsewhere.",
        )
    for step in steps:
        try:
            check_resumable(trainer, checkpoints.metadata(step), step)
            trainer.restore(checkpoints, step)
            break
        except CorruptCheckpointError as error:
            if jax.process_count() > 1:
                raise
            corrupt[step] = error
    else:
        if corrupt:
            raise corrupt[max(corrupt)]
    # Only now: if none had been readable, the cause might have been elsewhere.
    for step, reason in corrupt.items():
        checkpoints.quarantine(step, reason)


def check_resumable(trainer: Trainer, saved: Mapping[str, Any], step: int) -> None:
    """Raise UserError if a checkpoint's run is not this trainer's run.

    Args:
        trainer: The run as configured now.
        saved: Metadata of the checkpoint.
        step: Step of the checkpoint.
    """
    config = trainer.config.to_dict()
    check_same_config(trainer.workdir, saved["config"], config)
    check_same_inputs(trainer.workdir, saved, trainer.identity(), allowed_changes(config))
    done = step / trainer.steps_per_epoch
    if trainer.config.num_epochs < done:
        raise ConfigError(
            "config.num_epochs",
            expected=f"at least {math.ceil(done)}, the epochs begun in {trainer.workdir}",
            found=trainer.config.num_epochs,
        )


def check_same_config(workdir: pathlib.Path, saved: dict[str, Any], config: dict[str, Any]) -> None:
    """Raise UserError with the differing fields if a config is not that of the workdir's run."""
    # JSON turns tuples into lists.
    old, new = (flat_fields(json.loads(json.dumps(each))) for each in (saved, config))
    differing = _differences(old, new, ignored=RESUME_IGNORED_FIELDS)
    redrawn, allowed = _redrawn_by(differing, config), allowed_changes(config)
    refused = [field for field in differing if field in redrawn or field not in allowed]
    if refused:
        advice = f"To change fields of that run: --config.allow_changed={','.join(differing)}."
        if redrawn:
            advice = (
                f"{', '.join(redrawn)} can't change: with an empty config.pretrained the frozen"
                " weights are drawn from them at each start, and no checkpoint holds these."
            )
        raise UserError(
            str(workdir),
            problem=f"holds another run: {'; '.join(differing[field] for field in refused)}",
            advice=f"Choose another --workdir, or use the same config to resume. {advice}",
        )
    if differing:
        logger.warning("changed from here on: %s", "; ".join(differing.values()))


def _redrawn_by(differing: Iterable[str], config: dict[str, Any]) -> list[str]:
    """Differing fields that would change the frozen weights of a run without a backbone file."""
    if config["pretrained"] or config["tune"] == "full":
        return []
    return [
        field
        for field in differing
        if field == "seed" or (field.startswith("model.") and field not in NON_INIT_FIELDS)
    ]


def check_same_inputs(
    workdir: pathlib.Path,
    saved: Mapping[str, Any],
    found: Mapping[str, Any],
    allowed: Iterable[str] = (),
) -> None:
    """Raise UserError if batch size, backbone or dataset are not those of the workdir's run.

    Args:
        workdir: Workdir of the run.
        saved: Metadata of its checkpoint.
        found: The same fields of the run as configured now.
        allowed: Result of `allowed_changes`.
    """
    same_batch = (
        "Use the same number of devices, or set config.batch_size (per device) or"
        " config.gradient_accumulation_steps so that the product is the same."
    )
    same_data = "Pass the folder of the original dataset: --config.data.dir=OUT."
    for name, key, advice in (
        ("clips in a batch", "global_batch_size", same_batch),
        ("backbone", "backbone", "Use the same backbone file: --config.pretrained=FILE."),
        ("number of clips", "num_clips", same_data),
        ("labels", "label_names", same_data),
    ):
        old, new = (
            fields[key]["sha256"] if key == "backbone" else fields[key] for fields in (saved, found)
        )
        if old != new:
            raise UserError(f"{workdir}: {name}", expected=old, found=new, advice=advice)
    old, new = saved["dataset_sha256"], found["dataset_sha256"]
    parts = ", ".join(part for part in old | new if old.get(part) != new.get(part))
    if parts and DATASET not in allowed:
        raise UserError(
            f"{workdir}: dataset",
            problem=f"same labels and number of clips as the run's, but another build: {parts}"
            " differ",
            advice=f"{same_data} Or choose another --workdir. To resume with the same clips built"
            f" again: --config.allow_changed={DATASET}.",
        )
    if parts:
        logger.warning("another build of the dataset from here on: %s differ", parts)


def check_same_on_all_hosts(
    workdir: pathlib.Path, config: dict[str, Any], identity: dict[str, Any]
) -> None:
    """Raise UserError with the differing fields if processes were started differently; collective.

    They would each train another run, or wait for each other forever.

    Args:
        workdir: Workdir of the run.
        config: Fields of the run.
        identity: Result of `Trainer.identity`.
    """
    backbone = {"backbone": identity["backbone"]["sha256"]}
    own = {"--workdir": str(workdir.absolute()), **flat_fields(config), **identity, **backbone}
    first, *others = all_gather_json(
        {name: value for name, value in own.items() if name not in PER_HOST_FIELDS}
    )
    differing = [
        f"process {number}: {text}"
        for number, other in enumerate(others, start=1)
        for text in _differences(first, other).values()
    ]
    if differing:
        raise UserError(
            "processes",
            problem=f"started differently from process 0: {'; '.join(differing)}",
            advice="Start all processes with the same command, config, data and backbone.",
        )


def _differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], ignored: Iterable[str] = ()
) -> dict[str, str]:
    """Differing fields, each with both values as text."""
    return {
        name: f"{name}: expected {expected.get(name)!r}, found {found.get(name)!r}"
        for name in sorted(expected.keys() | found.keys())
        if name not in ignored and expected.get(name) != found.get(name)
    }
