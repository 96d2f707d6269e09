"""Times the compiled programs of training and evaluation, several settings in turn."""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh
from tqdm import tqdm

from dstadapter_jax.benchmark.collectives import collective_bytes
from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.inference.recognizer import make_predict
from dstadapter_jax.models.dstadapter import DSTAdapter, ModelConfig
from dstadapter_jax.models.flops import needed_flops, program_flops
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
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01  # any would do
# Of the square product that tells what the device can do: enough to be busy for milliseconds.
PRODUCT_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}

CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is timed.

    Attributes:
        model: A name of `MODELS`.
        mode: `eval` or `train`.
        batch: Clips a step, on all devices together.
        tune: What is trained: `adapter`, `head` or `full`.
        remat: What the backward pass recomputes.
        dtype: Of the products.
        mesh: Devices along its axes `data` and `fsdp`; -1 = all that are left.
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
        """Sizes of the model."""
        return MODELS[self.model](NUM_CLASSES, dtype=self.dtype, remat=self.remat)


class Program:
    """A compiled program; `run` does one step as the train loop would.

    It is compiled from shapes alone, so that programs larger than this machine can be looked at.

    Attributes:
        compile_seconds: Tracing included.
        memory: A device's, in bytes: `arguments`, and at the peak what is `temporary`.
        collectives: Bytes that a device gets of each kind.
        flops: Of one step, recomputation included.
    """

    def __init__(self, setting: Setting):
        self.setting, self._mesh = setting, make_mesh(*setting.mesh)
        self._optimizer = make_optimizer(LEARNING_RATE, WEIGHT_DECAY, setting.tune)
        model = nnx.eval_shape(lambda: DSTAdapter(setting.config, rngs=nnx.Rngs(0)))
        graphdef, trainable, frozen = partition(model, setting.tune)
        state = jax.eval_shape(self._state_of, trainable)
        program: Any = make_predict(graphdef, self._mesh)
        if setting.mode == "train":
            update = make_train_step(graphdef, self._optimizer, normalize)
            program = jit_train_step(update, self._mesh, state)
        state, frozen = _placed(state, self._mesh), _placed(frozen, self._mesh)
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
        self.flops = program_flops(program, *arguments)  # traces, too, and what is traced is kept

    def _state_of(self, trainable: dict) -> Any:
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
        """State and frozen weights on the devices; the state changes with each step."""
        model = init_model(self.setting.config, seed=0)
        _, trainable, frozen = partition(model, self.setting.tune)
        weights = self._state_of(trainable), frozen
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
        """One step; returns its seconds, and of these the seconds until its batch was there."""
        weights, rows, axis = self._weights, self._batch, 1
        if self.setting.mode == "eval":
            rows, axis = {"clip": rows["clip"][0]}, 0
        started = time.perf_counter()
        batch = jax.block_until_ready(shard_batch(self._mesh, rows, axis))
        there = time.perf_counter()
        state, frozen = weights
        result = jax.block_until_ready(self._compiled(*self._arguments(state, frozen, batch)))
        ended = time.perf_counter()
        if self.setting.mode == "train":
            weights[0] = result[0]
        return ended - started, there - started


def _placed(tree: Any, mesh: Mesh) -> Any:
    """Shapes with the places that the arrays would have."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        tree,
        parameter_sharding(mesh, tree),
    )


def matrix_product(dtype: str) -> Callable[[], float]:
    """Times one big square product; returns a function that gives operations a second."""
    side = PRODUCT_SIDE[jax.default_backend()]
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def rate() -> float:
        started = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        return 2 * side**3 / (time.perf_counter() - started)

    return rate


def time_programs(settings: Sequence[Setting], repeats: int) -> list[dict[str, Any]]:
    """Times settings in turn, so that what else the machine does hits all of them.

    Returns:
        For each setting its fields and: `clips_per_second`, the median; `seconds` of a step, with
        their spread; `data_wait_seconds`, of these, until the batch was on the device;
        `compile_seconds`; `flops_per_clip`, what the program does, and `needed_flops_per_clip`, the
        count by hand; `memory_bytes` and `collective_bytes` of a device; `share_of_product_rate`,
        needed operations a second against those of a big product, timed in between.
    """
    programs = [Program(setting) for setting in settings]
    rates = [matrix_product(setting.dtype) for setting in settings]
    for program, rate in zip(programs, rates, strict=True):
        program.run(), rate()
    times: list[list[tuple[float, float]]] = [[] for _ in settings]
    product_rates: list[list[float]] = [[] for _ in settings]
    for _ in tqdm(range(repeats), unit="round", disable=None):
        for i, program in enumerate(programs):
            product_rates[i].append(rates[i]())
            times[i].append(program.run())
    return list(map(_report, programs, times, product_rates))


def _report(
    program: Program, times: Sequence[tuple[float, float]], product_rates: Sequence[float]
) -> dict[str, Any]:
    setting = program.setting
    seconds = sorted(total for total, _ in times)
    median = statistics.median(seconds)
    needed = needed_flops(setting.config, setting.mode, setting.tune)
    rate = max(product_rates) * jax.device_count()  # what the device can do, undisturbed
    return {
        **dataclasses.asdict(setting),
        "clips_per_second": setting.batch / median,
        "seconds": {"smallest": seconds[0], "median": median, "largest": seconds[-1]},
        "data_wait_seconds": statistics.median(wait for _, wait in times),
        "compile_seconds": program.compile_seconds,
        "flops_per_clip": program.flops / setting.batch,
        "needed_flops_per_clip": needed,
        "memory_bytes": program.memory,
        "collective_bytes": program.collectives,
        "product_flops_per_second": max(product_rates),
        "share_of_product_rate": needed * setting.batch / median / rate,
    }


def time_compilation(setting: Setting) -> dict[str, Any]:
    """Seconds to trace and compile a program, and to get it again from JAX's cache on the disk."""
    before = {name: getattr(jax.config, name) for name in CACHE}
    with tempfile.TemporaryDirectory(prefix="benchmark_cache_") as folder:
        try:
            # Whatever it takes to compile: a small model's program may take less than the second
            # from which on JAX keeps it.
            _use_cache(dict(zip(CACHE, (folder, 0.0), strict=True)))
            program = Program(setting)
            jax.clear_caches()
            again = Program(setting).compile_seconds
        finally:
            _use_cache(before)
    return {
        **dataclasses.asdict(setting),
        "compile_seconds": program.compile_seconds,
        "cached_seconds": again,
        "flops_per_clip": program.flops / setting.batch,
        "memory_bytes": program.memory,
        "collective_bytes": program.collectives,
    }


def _use_cache(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it keeps to the folder that it was first used with
