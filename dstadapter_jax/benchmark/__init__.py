"""How fast the program is: `python -m dstadapter_jax.benchmark --help`."""
