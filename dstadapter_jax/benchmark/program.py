"""Times the compiled programs of training and evaluation, several settings in turn."""

import dataclasses
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
from tqdm import tqdm

from dstadapter_jax.benchmark.flops import needed_flops, program_flops
from dstadapter_jax.model import DSTAdapter, ModelConfig
from dstadapter_jax.optimizer import make_optimizer, partition
from dstadapter_jax.preprocess import normalize
from dstadapter_jax.recogniser import make_predict
from dstadapter_jax.sharding import distribute, make_mesh, parameter_sharding, shard_batch
from dstadapter_jax.train_step import TrainState, jit_train_step, make_train_step

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
        fsdp: Devices along the mesh's axis `fsdp`; the others are along `data`.
    """

    model: str = "vit_b16"
    mode: str = "train"
    batch: int = 1
    tune: str = "adapter"
    remat: str = ModelConfig.remat
    dtype: str = "float32"
    fsdp: int = 1

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return MODELS[self.model](NUM_CLASSES, dtype=self.dtype, remat=self.remat)


class Program:
    """A compiled program and its arguments; `run` does one step as the train loop would.

    Attributes:
        compile_seconds: Tracing included.
        temporary_bytes: What the program needs beside its arguments and results, at its peak.
        flops: Of one step, recomputation included.
    """

    def __init__(self, setting: Setting):
        cfg = setting.config
        self.setting, self._mesh = setting, make_mesh(-1, setting.fsdp)
        graphdef, trainable, frozen = partition(DSTAdapter(cfg, rngs=nnx.Rngs(0)), setting.tune)
        size = (cfg.num_frames, cfg.input_resolution, cfg.input_resolution, 3)
        rng = np.random.default_rng(0)
        self._batch = {
            "clip": rng.integers(0, 256, (1, setting.batch, *size), np.uint8),
            "label": rng.integers(0, NUM_CLASSES, (1, setting.batch), np.int32),
        }
        self._frozen = distribute(frozen, parameter_sharding(self._mesh, frozen))
        step = self._train(graphdef, trainable) if setting.mode == "train" else None
        self._start(step or self._evaluate(graphdef, trainable))

    def _train(self, graphdef: nnx.GraphDef, trainable: dict) -> Callable[..., Any]:
        optimizer = make_optimizer(LEARNING_RATE, WEIGHT_DECAY, self.setting.tune)
        state = TrainState(jnp.int32(0), trainable, optimizer.init(trainable))
        self._state: Any = distribute(state, parameter_sharding(self._mesh, state))
        update = make_train_step(graphdef, optimizer, normalize)
        self._key = jax.random.key(0)
        return jit_train_step(update, self._mesh, state)

    def _evaluate(self, graphdef: nnx.GraphDef, trainable: dict) -> Callable[..., Any]:
        self._state = distribute(trainable, parameter_sharding(self._mesh, trainable))
        return make_predict(graphdef)

    def _start(self, program: Any) -> None:
        arguments = self._arguments(self._to_device())
        started = time.perf_counter()
        self._compiled = program.lower(*arguments).compile()
        self.compile_seconds = time.perf_counter() - started
        self.flops = program_flops(program, *arguments)  # traces, too, and what is traced is kept
        self.temporary_bytes = self._compiled.memory_analysis().temp_size_in_bytes

    def _to_device(self) -> dict[str, jax.Array]:
        return shard_batch(self._mesh, self._batch, axis=1)

    def _arguments(self, batch: dict[str, jax.Array]) -> tuple[Any, ...]:
        if self.setting.mode == "eval":
            return self._state, self._frozen, batch["clip"][0]
        return self._state, self._frozen, batch["clip"], batch["label"], self._key

    def run(self) -> tuple[float, float]:
        """One step; returns its seconds, and of these the seconds until its batch was there."""
        started = time.perf_counter()
        batch = jax.block_until_ready(self._to_device())
        there = time.perf_counter()
        result = jax.block_until_ready(self._compiled(*self._arguments(batch)))
        ended = time.perf_counter()
        if self.setting.mode == "train":
            self._state = result[0]
        return ended - started, there - started


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
        count by hand; `temporary_bytes`; `share_of_product_rate`, needed operations a second
        against those of a big product, timed in between.
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
    rate = statistics.median(product_rates) * jax.device_count()
    return {
        **dataclasses.asdict(setting),
        "clips_per_second": setting.batch / median,
        "seconds": {"smallest": seconds[0], "median": median, "largest": seconds[-1]},
        "data_wait_seconds": statistics.median(wait for _, wait in times),
        "compile_seconds": program.compile_seconds,
        "flops_per_clip": program.flops / setting.batch,
        "needed_flops_per_clip": needed,
        "temporary_bytes": program.temporary_bytes,
        "product_flops_per_second": statistics.median(product_rates),
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
            first = Program(setting).compile_seconds
            jax.clear_caches()
            again = Program(setting).compile_seconds
        finally:
            _use_cache(before)
    return {**dataclasses.asdict(setting), "compile_seconds": first, "cached_seconds": again}


def _use_cache(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it keeps to the folder that it was first used with
