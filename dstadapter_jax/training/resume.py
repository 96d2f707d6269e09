"""Resuming a run: the newest intact checkpoint, and comparison of runs and processes."""

import json
import logging
import math
import pathlib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from dstadapter_jax.checkpoints.folder import QUARANTINE
from dstadapter_jax.checkpoints.integrity import CorruptCheckpointError
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
BACKBONE_PLACE = ("backbone.source", "backbone.revision")  # only the hash must be the same

# Inputs of a run besides its config, in its checkpoints' metadata, with advice if they differ.
_SAME_DATA = "Pass the folder of the original dataset: --config.data.dir=OUT."
INPUT_ADVICE = {
    "global_batch_size": "Use the same number of devices, or set config.batch_size (per device) or"
    " config.gradient_accumulation_steps so that the product is the same.",
    "backbone": "Use the same backbone file: --config.pretrained=FILE.",
    "num_clips": _SAME_DATA,
    "label_names": _SAME_DATA,
    "dataset_sha256": _SAME_DATA,
}

_short_repr = reprlib.Repr()  # for values in messages
_short_repr.maxlist, _short_repr.maxstring = 20, 80


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
    # Only after another checkpoint was restored: if all fail, the checkpoints may not be the cause.
    for step, reason in corrupt.items():
        checkpoints.quarantine(step, reason)


def check_resumable(trainer: Trainer, saved: Mapping[str, Any], step: int) -> None:
    """Raise UserError if the run with these metadata at this step is not the trainer's run."""
    check_same_run(trainer.workdir, saved, trainer.metadata())
    done = step / trainer.steps_per_epoch
    if trainer.config.num_epochs < done:
        raise ConfigError(
            "config.num_epochs",
            expected=f"at least {math.ceil(done)}, the epochs begun in {trainer.workdir}",
            found=trainer.config.num_epochs,
        )


class RunMismatchError(UserError):
    """Fields of a run that differ from its checkpoint, or between its processes.

    Attributes:
        fields: Differing fields by name, each with the expected and the found value.
    """

    def __init__(
        self, where: str, problem: str, fields: dict[str, tuple[Any, Any]], advice: str
    ) -> None:
        self.fields = fields
        super().__init__(where, problem=f"{problem}: {_as_text(fields)}", advice=advice)


def check_same_run(workdir: pathlib.Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise RunMismatchError if config, batch size, backbone or dataset differ from a saved run's.

    Fields of the metadata besides `config` may be missing in both.
    """
    config, allowed = now["config"], allowed_changes(now["config"])
    ignored = (*RESUME_IGNORED_FIELDS, *BACKBONE_PLACE)
    differing = diff_fields(_run_fields(saved), _run_fields(now), ignored)
    redrawn = _redrawn_by(differing, config)
    refused = {
        name: values
        for name, values in differing.items()
        if name in redrawn or _name_to_allow(name) not in allowed
    }
    if refused:
        advice = _advice(differing, refused, redrawn)
        raise RunMismatchError(str(workdir), "holds another run", refused, advice)
    if differing:
        logger.warning("changed from here on: %s", _as_text(differing))


def _name_to_allow(field: str) -> str:
    """Name by which `config.allow_changed` permits a field to change; empty if it can't."""
    root = field.partition(".")[0]
    if root == "dataset_sha256":
        return DATASET
    return "" if root in INPUT_ADVICE else field


def _redrawn_by(differing: Iterable[str], config: dict[str, Any]) -> list[str]:
    """Differing fields that would change the frozen weights of a run without a backbone file."""
    if config["pretrained"] or config["tune"] == "full":
        return []
    return [
        name
        for name in differing
        if name == "seed" or (name.startswith("model.") and name not in NON_INIT_FIELDS)
    ]


def _advice(differing: Iterable[str], refused: Iterable[str], redrawn: list[str]) -> str:
    parts = ["Choose another --workdir, or use the same config and data to resume."]
    roots = [name.partition(".")[0] for name in refused]
    parts += dict.fromkeys(INPUT_ADVICE[root] for root in roots if root in INPUT_ADVICE)
    if redrawn:
        parts.append(
            f"{', '.join(redrawn)} can't change: with an empty config.pretrained the frozen weights"
            " are drawn from them at each start, and no checkpoint holds these."
        )
    elif all(map(_name_to_allow, refused)):
        names = ",".join(dict.fromkeys(map(_name_to_allow, differing)))
        parts.append(f"To resume with these changes: --config.allow_changed={names}.")
    return " ".join(parts)


def check_same_on_all_hosts(workdir: pathlib.Path, metadata: Mapping[str, Any]) -> None:
    """Raise RunMismatchError if the processes of a run were started differently; collective.

    They would each train another run, or wait for each other forever.
    """
    own = {"--workdir": str(workdir.absolute()), **_run_fields(metadata)}
    first, *others = all_gather_json(own)
    ignored = (*PER_HOST_FIELDS, *BACKBONE_PLACE)
    for number, other in enumerate(others, start=1):
        if differing := diff_fields(first, other, ignored):
            raise RunMismatchError(
                f"process {number}",
                "was started differently from process 0",
                differing,
                "Start all processes with the same command, config, data and backbone.",
            )


def _run_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that must be equal for two runs to be the same, by dotted name."""
    inputs = {name: metadata[name] for name in INPUT_ADVICE if name in metadata}
    # JSON turns tuples into lists.
    return flat_fields(json.loads(json.dumps(metadata["config"] | inputs)))


def diff_fields(
    expected: Mapping[str, Any], found: Mapping[str, Any], ignored: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Fields with different values, by name, each with the expected and the found value."""
    return {
        name: (expected.get(name), found.get(name))
        for name in sorted(expected.keys() | found.keys())
        if name not in ignored and expected.get(name) != found.get(name)
    }


def _as_text(fields: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(
        f"{name}: expected {_short_repr.repr(old)}, found {_short_repr.repr(new)}"
        for name, (old, new) in fields.items()
    )
