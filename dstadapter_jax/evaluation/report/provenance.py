"""Program, network and clips behind a figure, so that it can be reproduced."""

import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import cv2
import jax
from flax import nnx

import dstadapter_jax
from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.views import Views
from dstadapter_jax.evaluation.bootstrap import SEED
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.flops import needed_flops
from dstadapter_jax.models.partition import count_parameters, partition

PACKAGES = ("jax", "flax", "optax", "numpy", "av")


def clips_sha256(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted clip names, joined by line feeds."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def network_facts(config: Mapping[str, Any], views: Views) -> dict[str, int]:
    """Counts of `parameters`, `trained_parameters`, `flops_per_view` and `flops_per_clip`.

    Identical views are counted separately.
    """
    cfg = ModelConfig(**config["model"])
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    _, trained, frozen = partition(model, config["tune"])
    flops_per_view = needed_flops(cfg, "eval", config["tune"])
    return {
        "parameters": count_parameters(trained) + count_parameters(frozen),
        "trained_parameters": count_parameters(trained),
        "flops_per_view": flops_per_view,
        "flops_per_clip": flops_per_view * views.crops * views.segments,
    }


def versions() -> dict[str, str]:
    """Versions of this project and its libraries, and the machine."""
    devices = jax.devices()
    return {
        "dstadapter_jax": f"{dstadapter_jax.__version__}{_commit()}",
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "opencv": cv2.__version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
    }


def _commit() -> str:
    """The commit of a Git clone, as text to append; empty elsewhere or without Git."""
    root = pathlib.Path(__file__).parents[3]
    command = ["git", "--no-optional-locks", "-C", str(root), "describe"]
    command += ["--always", "--dirty", "--abbrev=12"]
    try:
        if not (root / ".git").exists():
            return ""
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return f", commit {found.stdout.strip()}"


def dataset_facts(dataset: ClipDataset, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a table on the scored clips, from `eval_SPLIT.json`."""
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.num_clips.items())
    return [
        ("dataset", f"{summary['dataset']}: {counts}"),
        ("splits", _split_method(dataset, summary["test_signer"])),
        ("scored", f"{summary['num_clips'] - summary['num_missing']:,}"),
        ("counted as wrong", f"{summary['num_missing']:,} missing, damaged or not listed"),
        ("not counted", f"{summary['num_unavailable']:,} never published"),
        ("fingerprint", summary["clips_sha256"]),
    ]


def _split_method(dataset: ClipDataset, test_signer: str) -> str:
    if test_signer:
        (validated,) = dataset.signers["validation"]
        return f"leave-one-signer-out: {test_signer} test, {validated} validation, all others train"
    return str(dataset.metadata.get("split_method", "unknown"))


def run_facts(
    config: Mapping[str, Any], summary: Mapping[str, Any], views: Views
) -> list[tuple[str, str]]:
    """Names and values of a table on the run, its network and the program."""
    network = network_facts(config, views)
    trained, total = network["trained_parameters"], network["parameters"]
    gflop = {unit: f"{network[f'flops_per_{unit}'] / 1e9:,.4g}" for unit in ("clip", "view")}
    # An adapter file has no training seed.
    training_seed = f"training {config['seed']}, " if "seed" in config else ""
    return [
        ("step", f"{summary['step']:,}"),
        ("views", f"{summary['views']}; the mean of their softmax probabilities"),
        ("seeds", f"{training_seed}resampling {SEED}"),
        ("parameters", f"{total:,}"),
        ("trained", f"{trained:,}, {trained / total:.2%} (tune={config['tune']})"),
        ("computation", f"{gflop['clip']} GFLOP per clip, {gflop['view']} per view"),
        *versions().items(),
        ("evaluated", datetime.now().astimezone().isoformat(" ", "minutes")),
    ]


def config_lines(config: Mapping[str, Any]) -> list[str]:
    """A config as lines of JSON."""
    return json.dumps(config, indent=2, ensure_ascii=False).splitlines()
