"""Benchmarks of speed and memory: `python -m dstadapter_jax.benchmark --help`."""
