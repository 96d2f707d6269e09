"""What it takes to tell which program, network and clips a figure came from."""

import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import cv2
import jax
from flax import nnx

import dstadapter_jax
from dstadapter_jax.data.views import Views
from dstadapter_jax.evaluation.bootstrap import SEED
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.html.markup import Node, cut_table, details, fact_table, section, tag
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.flops import needed_flops
from dstadapter_jax.models.partition import count_parameters, partition

PACKAGES = ("jax", "flax", "optax", "numpy", "av")


def clips_sha256(ids: Iterable[str]) -> str:
    """SHA-256 of clips' names, sorted, a line each without a line's end after the last."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def network_facts(config: Mapping[str, Any], views: Views) -> dict[str, int]:
    """`parameters`, `trained_parameters`, and the FLOPs that a view and a clip need.

    Args:
        config: Of a run.
        views: Of a clip; those that are the same pixels count as often as they are averaged.
    """
    cfg = ModelConfig(**config["model"])
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    _, trained, frozen = partition(model, config["tune"])
    of_view = needed_flops(cfg, "eval", config["tune"])
    return {
        "parameters": count_parameters(trained) + count_parameters(frozen),
        "trained_parameters": count_parameters(trained),
        "flops_per_view": of_view,
        "flops_per_clip": of_view * views.crops * views.segments,
    }


def versions() -> dict[str, str]:
    """Of this project, what it stands on, and the machine."""
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
    """Of a clone; empty where the project isn't one, or where there is no git."""
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


def of_clips(evaluation: Evaluation) -> ET.Element:
    """The section on which clips were scored."""
    summary, results = evaluation.summary, evaluation.results
    counts = (f"{count:,} {split}" for split, count in evaluation.dataset.num_clips.items())
    facts: list[tuple[str, Node]] = [
        ("dataset", f"{summary['dataset']}: {', '.join(counts)}"),
        ("splits", _split_method(evaluation)),
        ("clips scored", f"{len(results.scores.labels):,}"),
        ("left out", f"{summary['num_missing']:,} missing, damaged or on no list"),
        ("never published", f"{summary['num_unavailable']:,}, not counted"),
        ("fingerprint", tag("code", summary["clips_sha256"])),
    ]
    about = "The fingerprint is the SHA-256 of the names of the clips scored, sorted, a line each:"
    about += " who has the same one has scored the same clips."
    names = [[tag("code", str(name))] for name in results.missing.ids]
    rows = cut_table(["clip"], names, whole="the dataset's metadata.json")
    left_out = [details(f"Clips left out, counted as wrong: {len(names):,}", *rows)]
    return section(
        *("clips", "Clips", fact_table(facts), tag("p", about, class_="soft")),
        *(left_out if names else []),
    )


def _split_method(evaluation: Evaluation) -> str:
    if signer := evaluation.summary["test_signer"]:
        (validated,) = evaluation.dataset.signers["validation"]
        return f"leave-one-signer-out: {signer} test, {validated} validation, all others train"
    return str(evaluation.dataset.metadata.get("split_method", "unknown"))


def of_run(evaluation: Evaluation) -> ET.Element:
    """The section on what was evaluated, with what, and how much it computes."""
    config, summary = evaluation.recognizer.config, evaluation.summary
    network = network_facts(config, evaluation.views)
    trained, total = network["trained_parameters"], network["parameters"]
    of_clip, of_view = (network[f"flops_per_{what}"] / 1e9 for what in ("clip", "view"))
    of_training = f"{config['seed']} of training, " if "seed" in config else ""  # no adapter's
    facts: list[tuple[str, Node]] = [
        ("step", f"{summary['step']:,}"),
        ("views", f"{summary['views']}; softmax of each, then the mean"),
        ("seeds", f"{of_training}{SEED} of the resamples"),
        ("parameters", f"{total:,}"),
        ("of these trained", f"{trained:,}, {trained / total:.2%} (tune={config['tune']})"),
        ("computation", f"{of_clip:,.4g} GFLOP a clip, {of_view:,.4g} a view"),
        *versions().items(),
        ("evaluated", datetime.now().astimezone().isoformat(" ", "minutes")),
    ]
    # Line by line, since line ends are among what a page shows as what they are.
    lines = json.dumps(config, indent=2, ensure_ascii=False).splitlines()
    shown = tag("pre", *(node for line in lines for node in (line, tag("br"))))
    about = "FLOP of the method's matrix products, counted by hand. Crops of the same pixels, as of"
    about += " a square video, count each and are computed once."
    return section(
        *("run", "Run", fact_table(facts), tag("p", about, class_="soft")),
        details("Configuration", shown),
    )
