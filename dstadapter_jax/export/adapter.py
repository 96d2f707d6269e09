"""Export a run as an adapter file.

    python -m dstadapter_jax.export adapter [--workdir DIR] -o FILE

Writes the adapter file and a model card beside it, `signs.md` for `signs.safetensors`, to edit and
to publish. The last line on stdout is one JSON object.
"""

import argparse
import json
import logging
import pathlib
import re
from typing import Any

import jax
import msgspec
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from dstadapter_jax.adapters.file import DTYPES, Adapter, write_adapter
from dstadapter_jax.adapters.schema import SHAREABLE, portable
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.errors import UserError
from dstadapter_jax.export.model_card import model_card
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.inference.arguments import RUN_HELP
from dstadapter_jax.inference.runs import newest_run
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.partition import partition
from dstadapter_jax.parallel.mesh import make_mesh, replicated
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.weight_table import to_reference
from dstadapter_jax.spotting.settings import FILE as SPOTTING_FILE
from dstadapter_jax.spotting.settings import load_settings

logger = logging.getLogger(__name__)

METRICS = ("top1", "top5", "mean_class_accuracy", "num_clips", "views")  # of eval_SPLIT.json


def adapter_from_run(
    workdir: pathlib.Path, selector: str = "best", license: str = "", language: str = ""
) -> tuple[Adapter, dict[str, np.ndarray]]:
    """Metadata and weights of a checkpoint for an adapter file; the backbone is not needed.

    Args:
        workdir: Workdir of the run.
        selector: `best` by validation top-1, `last`, or a step number.
        license: License of the weights.
        language: Code of the sign language.

    Raises:
        CheckpointError: The checkpoint does not exist.
        UserError: The run trained its whole backbone, or has a random one.
    """
    with Checkpointer(workdir, read_only=True) as checkpoints:
        step = checkpoints.find_step(selector)
        metadata = checkpoints.metadata(step)
        _check_shareable(workdir, metadata)
        config = metadata["config"]
        cfg = ModelConfig(**config["model"])
        trained = checkpoints.restore_trainable(step, _target(cfg, config["tune"]))
        validation = checkpoints.metrics(step)
    backbone = BackboneRef(**metadata["backbone"])
    adapter = Adapter(
        label_names=tuple(metadata["label_names"]),
        config=_config(config),
        backbone=BackboneRef(portable(backbone.source), backbone.revision, backbone.sha256),
        step=step,
        metrics=_metrics(workdir, step, validation),
        training=_training(metadata),
        spotting=_spotting(workdir, step, cfg.width),
        license=license,
        language=language,
    )
    flat = flatten_dict(jax.device_get(trained), sep="/")
    return adapter, to_reference(flat, cfg)


def _check_shareable(workdir: pathlib.Path, metadata: dict[str, Any]) -> None:
    tune = metadata["config"]["tune"]
    if tune not in SHAREABLE:
        raise UserError(
            f"{workdir}: config.tune",
            expected=f"{' or '.join(SHAREABLE)}: an adapter file holds no backbone",
            found=tune,
        )
    if not metadata["backbone"]["source"]:
        raise UserError(
            f"{workdir}: config.pretrained",
            expected="the backbone that the run was trained on",
            found="a randomly initialized one, which nobody else has",
            advice="Train with config.pretrained.",
        )


def _target(cfg: ModelConfig, tune: str) -> dict:
    """Shapes and shardings of the trainable weights."""
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    sharding = replicated(make_mesh())
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        partition(model, tune)[1],
    )


def _config(config: dict[str, Any]) -> dict[str, Any]:
    """The fields that a recognizer needs, without paths of the machine."""
    kept = {name: config[name] for name in ("model", "preprocess", "tune", "resize_positions")}
    return kept | {"data": {name: config["data"][name] for name in ("name", "decoder")}}


def _metrics(
    workdir: pathlib.Path, step: int, validation: dict[str, float] | None
) -> dict[str, dict[str, Any]]:
    """Metrics of a checkpoint by split: from `eval_SPLIT.json`, or of validation in training."""
    metrics = {}
    if validation is not None:
        in_training = {name.removeprefix("val_"): value for name, value in validation.items()}
        metrics["validation"] = in_training | {"views": "1 crop x 1 segment"}
    for split in SPLITS:
        path = workdir / f"eval_{split}.json"
        if not path.exists():
            continue
        results = json.loads(path.read_text())
        if results["step"] != step:
            logger.warning(
                "%s: ignored, since it is for step %d and not for %d", path, results["step"], step
            )
            continue
        metrics[split] = {name: results[name] for name in METRICS if name in results}
    return metrics


def _spotting(workdir: pathlib.Path, step: int, width: int) -> dict[str, Any] | None:
    """Spotting settings of this checkpoint; None if it was not calibrated."""
    if not (workdir / SPOTTING_FILE).exists():
        return None
    try:
        return msgspec.to_builtins(load_settings(workdir, step, width))
    except UserError as error:
        logger.warning("%s Not exported.", error)
        return None


def _training(metadata: dict[str, Any]) -> dict[str, Any]:
    config = metadata["config"]
    return {
        "training_clips": metadata["num_clips"]["train"],
        "epochs": config["num_epochs"],
        "global_batch_size": metadata["global_batch_size"],
        "learning_rate": config["optimizer"]["learning_rate"],
        "weight_decay": config["optimizer"]["weight_decay"],
        "seed": config["seed"],
        **metadata["compute"],
    }


def _adapter_path(text: str) -> pathlib.Path:
    path = expanded_path(text)
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected NAME.safetensors in an existing folder, found {text!r}"
        )
    return path


def _language(text: str) -> str:
    if not re.fullmatch(r"([a-z]{2,3}(-\w+)*)?", text):
        raise argparse.ArgumentTypeError(
            f"expected a code such as ase (American Sign Language) or gsg, found {text!r}"
        )
    return text


def main(argv: list[str]) -> int:
    """Run the subcommand with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.export adapter", description=__doc__
    )
    parser.add_argument("--workdir", type=expanded_path, help=RUN_HELP)
    parser.add_argument("-o", "--output", type=_adapter_path, required=True, metavar="FILE")
    parser.add_argument("--step", default="best", help="best (by validation), last, or a number")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="float16: half the size")
    parser.add_argument("--license", default="", help="license of the weights, such as cc-by-4.0")
    parser.add_argument(
        "--language", type=_language, default="", help="ISO 639 code of the sign language"
    )
    args = parser.parse_args(argv)
    adapter, weights = adapter_from_run(
        args.workdir or newest_run(), args.step, args.license, args.language
    )
    card = args.output.with_suffix(".md")
    write_adapter(args.output, adapter, weights, args.dtype)
    atomic_write(card, model_card(adapter, args.output.name))
    size = args.output.stat().st_size
    result = {"adapter": str(args.output), "card": str(card), "step": adapter.step, "bytes": size}
    print(json.dumps(result))
    return 0
