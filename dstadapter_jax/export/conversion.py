"""Convert a checkpoint of the reference to an adapter file, without training.

    python -m dstadapter_jax.export convert --config configs/NAME.py --checkpoint FILE
        --labels FILE -o signs.safetensors [--backbone FILE] [--config.field=value …]

The checkpoint is one that MMAction2 saved, `best_*.pth`, or any other file with all of the
reference's weights. `--labels` names a text file with a label a line, in the order of the classes;
sizes and preprocessing are those of the config. The frozen backbone is written to
`signs.backbone.safetensors`, unless `--backbone` names a file or `hf:` source with the same
weights. The last line on stdout is one JSON object.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict
from safetensors.numpy import save

from dstadapter_jax.adapters.file import Adapter, write_adapter
from dstadapter_jax.adapters.schema import portable
from dstadapter_jax.errors import UserError
from dstadapter_jax.export.model_card import model_card
from dstadapter_jax.files.atomic import atomic_write
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.loading import read_weights
from dstadapter_jax.pretrained.matching import shorten_list
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source, weights_sha256
from dstadapter_jax.pretrained.weight_table import is_adapter_weight


def main(argv: list[str]) -> int:
    """Run the subcommand with these arguments and return its exit status."""
    from absl import flags

    from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags

    values = define_config_flags(argv)
    flags.DEFINE_string("checkpoint", None, "Checkpoint of the reference.", values)
    flags.DEFINE_string("labels", None, "Text file with a label a line.", values)
    flags.DEFINE_string("output", None, "Adapter file to write.", values, short_name="o")
    flags.DEFINE_string("backbone", "", "File or hf: source of the frozen weights.", values)
    config = parse_config_flags(values, argv, str(__doc__), "output")
    for name in ("checkpoint", "labels"):
        if not values[name].value:
            raise UserError(f"--{name}", expected="a file", found="nothing")
    output = pathlib.Path(values.output).expanduser()
    if output.suffix != ".safetensors" or not output.parent.is_dir():
        expected = "NAME.safetensors in an existing folder"
        raise UserError("--output", expected=expected, found=repr(values.output))
    labels = read_labels(pathlib.Path(values.labels).expanduser())
    adapter, weights, frozen = convert(config, values.checkpoint, labels, values.backbone)
    if frozen:
        backbone = output.with_suffix(".backbone.safetensors")
        atomic_write(backbone, save(frozen))
        reference = BackboneRef(backbone.name, "", weights_sha256(backbone))
        adapter = dataclasses.replace(adapter, backbone=reference)
    write_adapter(output, adapter, weights)
    card = output.with_suffix(".md")
    atomic_write(card, model_card(adapter, output.name))
    result = {"adapter": str(output), "card": str(card), "backbone": adapter.backbone.source}
    print(json.dumps(result))
    return 0


def convert(
    config: ConfigDict, checkpoint: str, labels: tuple[str, ...], backbone: str = ""
) -> tuple[Adapter, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read a checkpoint of the reference as metadata and weights of an adapter file.

    Args:
        config: Config whose sizes and preprocessing the checkpoint was trained with.
        checkpoint: Path or `hf:` source.
        labels: Label names in the order of the classes.
        backbone: Path or `hf:` source of the frozen weights; '' to take them from the checkpoint.

    Returns:
        Metadata, trained weights by reference name, and the frozen weights by reference name,
        empty if `backbone` has them.

    Raises:
        WeightsError: The checkpoint lacks weights, does not fit the config, or has other frozen
            weights than `backbone`.
    """
    sizes = config.model.to_dict() | {"num_classes": len(labels)}
    sizes["activation"] = sizes["activation"] or "quick_gelu"  # the reference has no other
    cfg = ModelConfig(**sizes)
    weights, loaded = read_weights(cfg, checkpoint, resize_positions=config.resize_positions)
    if loaded.initialized:
        raise WeightsError(
            checkpoint,
            expected="all weights of the reference, with adapters and classifier",
            found=f"a backbone (format: {loaded.format})",
            advice="Pass it as config.pretrained to train on it.",
        )
    frozen = {name: array for name, array in weights.items() if not is_adapter_weight(name)}
    reference = BackboneRef()
    if backbone:
        path = resolve_source(backbone)
        others, _ = read_weights(cfg, path, resize_positions=config.resize_positions)
        _check_equal(frozen, others, backbone)
        reference = BackboneRef(portable(backbone), "", weights_sha256(path))
        frozen = {}
    adapter = Adapter(
        label_names=labels,
        config={
            "model": dataclasses.asdict(cfg),
            "preprocess": config.preprocess.to_dict(),
            "tune": "adapter",
            "resize_positions": config.resize_positions and bool(backbone),
            "data": {"name": config.data.name, "decoder": config.data.decoder},
        },
        backbone=reference,
        step=0,
        training={"converted_from": portable(checkpoint)},
    )
    return adapter, weights, frozen


def _check_equal(
    frozen: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray], backbone: str
) -> None:
    """Raise WeightsError if a backbone has other frozen weights; ln_post is trained."""
    unequal = [
        name
        for name, array in frozen.items()
        if not name.startswith("backbone.ln_post.") and not np.array_equal(array, others[name])
    ]
    if unequal:
        raise WeightsError(
            f"--backbone {backbone}",
            expected="the frozen weights of the checkpoint",
            found=f"other values in {shorten_list(unequal)}",
            advice="Leave --backbone out to write the checkpoint's own to a file.",
        )


def read_labels(path: pathlib.Path) -> tuple[str, ...]:
    """Read label names, one a line; blank lines at the end are left out.

    Raises:
        UserError: The file can't be read as UTF-8, or a line is blank or repeated.
    """
    try:
        lines = path.read_text("utf-8-sig").rstrip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path}", problem=f"can't be read ({error})") from error
    labels = tuple(line.strip() for line in lines)
    for name in labels:
        if not name or labels.count(name) > 1:
            where = f"--labels {path}: line {labels.index(name) + 1}"
            raise UserError(where, expected="one name a line, each once", found=repr(name))
    return labels
