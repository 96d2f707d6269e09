"""What lies in a run's workdir beside its checkpoints: `config.json` and `metrics.jsonl`."""

import fcntl
import json
import logging
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dstadapter_jax.parallel.hosts import is_primary

logger = logging.getLogger(__name__)

# Fields that may differ when a run goes on: they say where and how fast, not what. Of the backbone
# the hash is compared and not the place, of the batch its size over all devices; and both decoders
# give the same frames.
FREE_FIELDS = (
    *("data.dir", "data.num_threads", "data.decoder", "mesh.data", "mesh.fsdp", "batch_size"),
    *("gradient_accumulation_steps", "pretrained", "pretrained_revision"),
    *("wandb_project", "allow_changed"),
)
DATASET = "dataset"  # beside the fields in `config.allow_changed`: another build of it
# All others of `config.model`, and the seed, shape the random weights of a run without a backbone.
NOT_DRAWN_FROM = ("model.dropout", "model.dtype", "model.remat")
# Of fields that runs of older versions don't know: what these did.
DEFAULTS = {"data.test_signer": ""}
# What a run writes until it ends.
FOLDERS = ("checkpoints", "damaged_checkpoints", "tensorboard")
FILES = ("config.json", "metrics.jsonl")


@contextmanager
def hold_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder if need be and keeps other runs out of it, until left or killed.

    Of many processes the first holds it for all.

    Raises:
        ValueError: It can't be written to, another process trains in it, or something else is in
            the place of what a run writes.
    """
    if not is_primary():
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise ValueError(
            f"--workdir {workdir}: can't be written to: {error.strerror}. Choose another folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"--workdir {workdir}: another process trains in it. Stop that one, or choose"
                " another folder."
            ) from error
        _check_places(workdir)
        yield


def _check_places(workdir: pathlib.Path) -> None:
    for name in (*FOLDERS, *FILES):
        path, expected = workdir / name, "folder" if name in FOLDERS else "file"
        fits = path.is_dir() if name in FOLDERS else path.is_file()
        if not fits and os.path.lexists(path):
            found = "something else" if path.exists() else f"a link to {path.readlink()}: not there"
            raise ValueError(
                f"{path}: expected a {expected} or nothing, found {found}. Bring back what is"
                " missing or move this elsewhere, then start the same command again."
            )


@contextmanager
def drafts(*paths: pathlib.Path) -> Iterator[list[pathlib.Path]]:
    """Names to write files under, which take the places of `paths` once all is done.

    Killed meanwhile, it leaves the old files or the new ones, whole; after an error the old ones,
    and no drafts.
    """
    names = [path.with_name(path.name + ".tmp") for path in paths]
    try:
        yield names
        for name in names:
            with name.open("rb") as file:
                os.fsync(file.fileno())
        for name, path in zip(names, paths, strict=True):
            os.replace(name, path)
    finally:
        for name in filter(pathlib.Path.exists, names):
            name.unlink()


def write_whole(path: pathlib.Path, content: str | bytes) -> None:
    """Writes a file; killed meanwhile, it leaves the old one or the new one, whole.

    Raises:
        OSError: It can't be written; says where, why and what to do.
    """
    try:
        with drafts(path) as (draft,):
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OSError(
            f"{path}: can't be written: {error.strerror}. What was there is as it was: make room or"
            " move away what is in its place, then start the same command again."
        ) from error


def write_config(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Writes `config.json`; of many processes the first does."""
    if is_primary():
        write_whole(workdir / "config.json", json.dumps(config, indent=2) + "\n")


def allowed_changes(config: dict[str, Any]) -> tuple[str, ...]:
    """The fields that `config.allow_changed` names; raises ValueError if one doesn't exist."""
    names = tuple(name.strip() for name in config["allow_changed"].split(",") if name.strip())
    known = sorted({DATASET, *flat_fields(config)} - set(FREE_FIELDS))
    for name in names:
        if name not in known:
            raise ValueError(
                f"config.allow_changed: expected some of {', '.join(known)}, found {name!r}."
                f" {', '.join(FREE_FIELDS)} may always differ."
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
        if field not in FREE_FIELDS and found.get(field) != wanted.get(field)
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
        if field == "seed" or (field.startswith("model.") and field not in NOT_DRAWN_FROM)
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


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; lines that a crash left unreadable are told of and passed."""
    rows = []
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            numbers = all(math.isfinite(value) for value in row.values())
            if not (numbers and row["step"] > 0 and row["epoch"] >= 0):
                raise ValueError
            rows.append(row)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            logger.warning("%s, line %d: unreadable, left out", path, number)
    return rows
