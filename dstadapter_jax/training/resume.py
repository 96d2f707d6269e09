"""Whether a run may resume from a workdir's checkpoints: config, batch size, backbone, dataset."""

import json
import logging
import math
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from dstadapter_jax.parallel.hosts import all_gather_json

logger = logging.getLogger(__name__)

# Fields that may differ when a run goes on: they say where and how fast, not what. Of the backbone
# the hash is compared and not the place, of the batch its size over all devices; and both decoders
# give the same frames.
RESUME_IGNORED_FIELDS = (
    *("data.dir", "data.num_threads", "data.decoder", "mesh.data", "mesh.fsdp", "batch_size"),
    *("gradient_accumulation_steps", "pretrained", "pretrained_revision"),
    *("wandb_project", "allow_changed"),
)


DATASET = "dataset"  # beside the fields in `config.allow_changed`: another build of it


# All others of `config.model`, and the seed, shape the random weights of a run without a backbone.
NON_INIT_FIELDS = ("model.dropout", "model.dtype", "model.remat")


# Of fields that runs of older versions don't know: what these did.
DEFAULTS = {"data.test_signer": ""}


def allowed_changes(config: dict[str, Any]) -> tuple[str, ...]:
    """The fields that `config.allow_changed` names; raises ValueError if one doesn't exist."""
    names = tuple(name.strip() for name in config["allow_changed"].split(",") if name.strip())
    known = sorted({DATASET, *flat_fields(config)} - set(RESUME_IGNORED_FIELDS))
    for name in names:
        if name not in known:
            raise ValueError(
                f"config.allow_changed: expected some of {', '.join(known)}, found {name!r}."
                f" {', '.join(RESUME_IGNORED_FIELDS)} may always differ."
            )
    return names


def check_same_run(workdir: pathlib.Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises ValueError, naming the fields, if a config isn't that of the workdir's checkpoints."""
    found, wanted = (
        DEFAULTS | flat_fields(json.loads(json.dumps(config))) for config in (saved, asked)
    )
    differing = {
        field: f"{field}: {found.get(field)!r} there, {wanted.get(field)!r} asked for"
        for field in sorted(found.keys() | wanted.keys())
        if field not in RESUME_IGNORED_FIELDS and found.get(field) != wanted.get(field)
    }
    redrawn, allowed = _redrawn(differing, asked), allowed_changes(asked)
    refused = [field for field in differing if field in redrawn or field not in allowed]
    if refused:
        change = f", or for the change: --config.allow_changed={','.join(differing)}."
        no_change = (
            f". {', '.join(redrawn)} can't change: as config.pretrained is empty, the frozen"
            " weights are drawn from them at each start, and no checkpoint holds these."
        )
        raise ValueError(
            f"{workdir} holds another run, with {'; '.join(differing[field] for field in refused)}."
            " Choose another --workdir, or ask for the same to go on with that run"
            f"{no_change if redrawn else change}"
        )
    if differing:
        logger.warning("from here on changed: %s", "; ".join(differing.values()))


def _redrawn(differing: Iterable[str], asked: dict[str, Any]) -> list[str]:
    """The fields without which a run that has no backbone file would get other frozen weights."""
    if asked["pretrained"] or asked["tune"] == "full":
        return []
    return [
        field
        for field in differing
        if field == "seed" or (field.startswith("model.") and field not in NON_INIT_FIELDS)
    ]


def flat_fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's fields by their names with dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flat_fields(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


# Fields that may differ among the processes of a run: where things are on their machines.
PER_HOST_FIELDS = (
    *("data.dir", "data.num_threads", "data.decoder", "pretrained", "pretrained_revision"),
    "wandb_project",
)


def check_same_on_all_hosts(
    workdir: pathlib.Path, config: dict[str, Any], identity: dict[str, Any]
) -> None:
    """Raises ValueError, naming the fields, if a run's processes were asked for different ones.

    All must ask. They would train to the end, each its own, or wait for each other without end.

    Args:
        workdir: Of the run.
        config: Its fields.
        identity: What else a checkpoint is known by.
    """
    backbone = {"the backbone's SHA-256": identity["backbone"]["sha256"]}
    own = {"--workdir": str(workdir.absolute())} | flat_fields(config) | dict(identity) | backbone
    hosts = all_gather_json(
        {name: own[name] for name in own if name not in (*PER_HOST_FIELDS, "backbone")}
    )
    differing = [
        f"{name}: {hosts[0].get(name)!r} for process 0, {other.get(name)!r} for process {number}"
        for number, other in enumerate(hosts)
        for name in hosts[0] | other
        if other.get(name) != hosts[0].get(name)
    ]
    if differing:
        raise ValueError(
            f"the processes of the run were asked for different ones: {'; '.join(differing)}."
            " Start all of them with the same command, config, data and backbone."
        )


def check_resumable(
    workdir: pathlib.Path,
    saved: Mapping[str, Any],
    asked: Mapping[str, Any],
    allowed: Collection[str] = (),
) -> None:
    """Raises ValueError if batch, backbone or dataset aren't those of the workdir's run.

    Args:
        workdir: Of the run.
        saved: Metadata of its checkpoint.
        asked: The same fields as they are now.
        allowed: What may differ, as `allowed_changes` returns it: of these, the dataset's build.
    """
    same_batch = (
        "Use as many devices as before, or set config.batch_size, which is per device, or"
        " config.gradient_accumulation_steps so that the product is the same."
    )
    same_file = "Use the same backbone file: --config.pretrained=FILE."
    same_data = "Say where the dataset is that it began with: --config.data.dir=OUT."
    for what, key, advice in (
        ("clips in a batch", "global_batch_size", same_batch),
        ("the backbone's SHA-256", "backbone", same_file),
        ("clips", "num_clips", same_data),
        ("labels", "label_names", same_data),
    ):
        there, here = (
            fields[key]["sha256"] if key == "backbone" else fields[key] for fields in (saved, asked)
        )
        if there != here:
            raise ValueError(
                f"{workdir}: {what}: the run there has {there!r}, asked for {here!r}. {advice}"
            )
    if "dataset_sha256" not in saved:
        logger.warning("%s is of an older version: whether its clips are these isn't told", workdir)
        return
    there, here = saved["dataset_sha256"], asked["dataset_sha256"]
    differing = ", ".join(part for part in there | here if there.get(part) != here.get(part))
    if differing and DATASET not in allowed:
        raise ValueError(
            f"{workdir}: the dataset has the labels and as many clips as the one that the run there"
            f" began with, but is another or another build: {differing} differ. {same_data} Or"
            f" choose another --workdir; if it is the same clips built again, go on with them:"
            f" --config.allow_changed={DATASET}."
        )
    if differing:
        logger.warning("from here on another build of the dataset: %s differ", differing)


def check_epochs(workdir: pathlib.Path, done: float, asked: int) -> None:
    """Raises ValueError if fewer epochs are asked for than the workdir's run has done."""
    if asked < done:
        raise ValueError(
            f"config.num_epochs: expected at least {math.ceil(done)}, the epochs that the run in"
            f" {workdir} has begun, found {asked}."
        )
