"""Timing of compiled programs, several settings in turn, and of compilation."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache
from tqdm import tqdm

from dstadapter_jax.benchmark.program import Program, Setting
from dstadapter_jax.models.flops import needed_flops

# Side of the square matrix product that measures a device's peak rate: milliseconds of work.
PRODUCT_SIDE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
CACHE_OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def matrix_product(dtype: str) -> Callable[[], float]:
    """Compile a large matrix product; return a function that measures its FLOP/s."""
    side = PRODUCT_SIDE[jax.default_backend()]
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def rate() -> float:
        started = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        return 2 * side**3 / (time.perf_counter() - started)

    return rate


def time_programs(settings: Sequence[Setting], repeats: int) -> list[dict[str, Any]]:
    """Time settings in turn, so that other load on the machine affects all of them alike.

    Returns:
        Fields of each setting with `clips_per_second`, the median; `seconds` per step (smallest,
        median and largest); `data_wait_seconds`, the part until the batch is on the device;
        `compile_seconds`; `flops_per_clip` of the program, and `needed_flops_per_clip`, the
        analytic count without recomputation; `memory_bytes` and `collective_bytes` per device;
        `share_of_product_rate`, the needed FLOP/s relative to a large matrix product's.
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
    peak = max(product_rates) * jax.device_count()
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
        "share_of_product_rate": needed * setting.batch / median / peak,
    }


def time_compilation(setting: Setting) -> dict[str, Any]:
    """Time tracing and compilation of a program, and loading it from JAX's cache on disk."""
    before = {name: getattr(jax.config, name) for name in CACHE_OPTIONS}
    with tempfile.TemporaryDirectory(prefix="benchmark_cache_") as folder:
        try:
            # By default JAX stores only programs that take more than a second to compile.
            _use_cache(dict(zip(CACHE_OPTIONS, (folder, 0.0), strict=True)))
            program = Program(setting)
            jax.clear_caches()
            cached_seconds = Program(setting).compile_seconds
        finally:
            _use_cache(before)
    return {
        **dataclasses.asdict(setting),
        "compile_seconds": program.compile_seconds,
        "cached_seconds": cached_seconds,
        "flops_per_clip": program.flops / setting.batch,
        "memory_bytes": program.memory,
        "collective_bytes": program.collectives,
    }


def _use_cache(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # otherwise JAX keeps using the first folder
