"""Takes a trained recogniser elsewhere: `python -m dstadapter_jax.export`."""
