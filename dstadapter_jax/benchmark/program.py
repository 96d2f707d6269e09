"""The compiled programs of training and evaluation, for benchmarks."""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from dstadapter_jax.benchmark.collectives import collective_bytes
from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.inference.recognizer import make_predict
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.models.flops import program_flops
from dstadapter_jax.models.partition import partition
from dstadapter_jax.parallel.mesh import (
    batch_sharding,
    make_mesh,
    parameter_sharding,
    put_global,
    shard_batch,
)
from dstadapter_jax.pretrained.initialization import init_model
from dstadapter_jax.training.optimizer import make_optimizer
from dstadapter_jax.training.step import TrainState, jit_train_step, make_train_step

MODELS = {"vit_b16": ModelConfig.vit_b16, "vit_l14": ModelConfig.vit_l14}
NUM_CLASSES = 226
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01  # speed does not depend on them


@dataclasses.dataclass(frozen=True)
class Setting:
    """Setting of a benchmark.

    Attributes:
        model: Key of `MODELS`.
        mode: `eval` or `train`.
        batch: Global batch size in clips.
        tune: Trained part: `adapter`, `head` or `full`.
        remat: Rematerialization policy.
        dtype: Dtype of matrix products.
        mesh: Numbers of devices along the axes `data` and `fsdp`; -1 for all remaining devices.
    """

    model: str = "vit_b16"
    mode: str = "train"
    batch: int = 1
    tune: str = "adapter"
    remat: str = ModelConfig.remat
    dtype: str = "float32"
    mesh: tuple[int, int] = (-1, 1)

    @property
    def config(self) -> ModelConfig:
        """Model sizes."""
        return MODELS[self.model](NUM_CLASSES, dtype=self.dtype, remat=self.remat)


class Program:
    """A compiled program; `run` executes one step like the training loop.

    It is compiled from shapes alone, so that programs that exceed this machine can be inspected.

    Attributes:
        compile_seconds: Seconds of tracing and compilation.
        memory: Bytes per device: `arguments`, and `temporary` at the peak.
        collectives: Bytes received per device by kind of collective.
        flops: FLOPs of one step, including recomputation.
    """

    def __init__(self, setting: Setting):
        self.setting, self._mesh = setting, make_mesh(*setting.mesh)
        self._optimizer = make_optimizer(LEARNING_RATE, WEIGHT_DECAY, setting.tune)
        model = nnx.eval_shape(lambda: DSTAdapter(setting.config, rngs=nnx.Rngs(0)))
        graphdef, trainable, frozen = partition(model, setting.tune)
        state = jax.eval_shape(self._train_state, trainable)
        program: Any = make_predict(graphdef, self._mesh)
        if setting.mode == "train":
            update = make_train_step(graphdef, self._optimizer, normalize)
            program = jit_train_step(update, self._mesh, state)
        state, frozen = _sharded_shapes(state, self._mesh), _sharded_shapes(frozen, self._mesh)
        arguments = self._arguments(state, frozen, self._batch_shapes())
        started = time.perf_counter()
        self._compiled = program.lower(*arguments).compile()
        self.compile_seconds = time.perf_counter() - started
        memory = self._compiled.memory_analysis()
        self.memory = {
            "arguments": memory.argument_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
        }
        self.collectives = collective_bytes(self._compiled.as_text())
        self.flops = program_flops(program, *arguments)  # not timed, since it traces too

    def _train_state(self, trainable: dict) -> Any:
        if self.setting.mode == "eval":
            return trainable
        return TrainState(jnp.int32(0), trainable, self._optimizer.init(trainable))

    def _batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        cfg, batch = self.setting.config, self.setting.batch
        clip = (1, batch, cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
        sharding = batch_sharding(self._mesh, axis=1)
        return {
            "clip": jax.ShapeDtypeStruct(clip, np.uint8, sharding=sharding),
            "label": jax.ShapeDtypeStruct((1, batch), np.int32, sharding=sharding),
        }

    def _arguments(self, state: Any, frozen: dict, batch: dict[str, Any]) -> tuple[Any, ...]:
        if self.setting.mode == "eval":
            clips = batch["clip"]
            if isinstance(clips, jax.ShapeDtypeStruct):
                clips = clips.update(shape=clips.shape[1:], sharding=batch_sharding(self._mesh))
            return state, frozen, clips
        return state, frozen, batch["clip"], batch["label"], jax.random.key(0)

    @functools.cached_property
    def _weights(self) -> list[Any]:
        """Training state, replaced by each step, and frozen weights, on the devices."""
        model = init_model(self.setting.config, seed=0)
        _, trainable, frozen = partition(model, self.setting.tune)
        weights = self._train_state(trainable), frozen
        return [put_global(tree, parameter_sharding(self._mesh, tree)) for tree in weights]

    @functools.cached_property
    def _batch(self) -> dict[str, np.ndarray]:
        rng, shapes = np.random.default_rng(0), self._batch_shapes()
        limits = {"clip": 256, "label": NUM_CLASSES}
        return {
            name: rng.integers(0, limits[name], shape.shape, shape.dtype)
            for name, shape in shapes.items()
        }

    def run(self) -> tuple[float, float]:
        """Run one step; return its seconds, and the part until the batch is on the devices."""
        weights, rows, axis = self._weights, self._batch, 1
        if self.setting.mode == "eval":
            rows, axis = {"clip": rows["clip"][0]}, 0
        started = time.perf_counter()
        batch = jax.block_until_ready(shard_batch(self._mesh, rows, axis))
        loaded = time.perf_counter()
        state, frozen = weights
        result = jax.block_until_ready(self._compiled(*self._arguments(state, frozen, batch)))
        ended = time.perf_counter()
        if self.setting.mode == "train":
            weights[0] = result[0]
        return ended - started, loaded - started


def _sharded_shapes(tree: Any, mesh: Mesh) -> Any:
    """Shapes with the shardings of the parameters."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        parameter_sharding(mesh, tree),
    )
