"""Backbones, runs and adapter files with random weights; nothing is trained."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from dstadapter_jax import ModelConfig, dump_weights
from dstadapter_jax.adapters.file import Adapter, write_adapter
from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.files.hashing import file_sha256
from dstadapter_jax.pretrained.backbone import BackboneRef
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.pretrained.weight_table import is_adapter_weight
from dstadapter_jax.training.trainer import Trainer

SIZES = {"input_resolution": 32, "num_frames": 4, "patch_size": 8, "width": 32, "layers": 2}
SIZES |= {"heads": 2}


def write_tower(path: pathlib.Path, sizes: dict[str, Any], seed: int = 0) -> pathlib.Path:
    """Write a backbone file of these sizes, in the reference's format."""
    weights = dump_weights(init_model(ModelConfig(num_classes=1, **sizes), seed)).items()
    save_file({name: array for name, array in weights if not is_adapter_weight(name)}, path)
    return path


def save_run(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
    """Save a run with one checkpoint, at step 0, and noise on the trainable weights."""
    run = Trainer(config, workdir)
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(
        lambda w: jax.device_put(np.asarray(w) + noise(rng, w.shape), w.sharding),
        run.state.trainable,
    )
    run.state = run.state._replace(trainable=noisy)
    with Checkpointer(workdir) as checkpoints:
        run.save(checkpoints, {"val_top1": 0.5, "val_top5": 1.0, "val_mean_class_accuracy": 0.25})
    run.close()
    return workdir


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 0.2, shape).astype(np.float32)


def draw_adapter(
    tower: pathlib.Path, classes: int, seed: int, tune: str = "adapter", **sizes: Any
) -> tuple[Adapter, dict[str, np.ndarray]]:
    """Metadata and random weights of an adapter file for a backbone of `SIZES`."""
    model = {"num_classes": classes, **SIZES, "dropout": 0.5, "dtype": "float32"} | sizes
    model |= {"remat": "selective", "spatial_kernel": [1, 1, 1]}
    preprocess = {"randaugment_layers": 4, "randaugment_magnitude": 7, "crop_area": [0.08, 1.0]}
    adapter = Adapter(
        label_names=tuple(f"{seed}-{label}" for label in range(classes)),
        config={
            "model": model,
            "preprocess": preprocess | {"flip_probability": 0.5},
            "tune": tune,
            "resize_positions": False,
            "data": {"name": "recordings/frames", "decoder": "pyav"},
        },
        backbone=BackboneRef("tower.safetensors", "", file_sha256(tower)),
        step=seed,
    )
    rng = np.random.default_rng(seed)
    return adapter, {name: noise(rng, shape) for name, shape in adapter.shapes.items()}


def write_drawn(path: pathlib.Path, *arguments: Any, **changes: Any) -> pathlib.Path:
    """Write an adapter file of `draw_adapter`."""
    write_adapter(path, *draw_adapter(*arguments, **changes))
    return path


def write_diverged(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write an adapter file of finite weights with non-finite products; also its backbone."""
    tower = write_tower(folder / "tower.safetensors", SIZES)
    adapter, weights = draw_adapter(tower, 3, seed=0)
    blown_up = {name: array * np.float32(1e38) for name, array in weights.items()}
    write_adapter(folder / "diverged.safetensors", adapter, blown_up)
    return folder / "diverged.safetensors", tower


def printed_lines(capsys: pytest.CaptureFixture) -> list[dict]:
    """JSON objects that a command printed since the last call."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
