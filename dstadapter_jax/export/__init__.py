"""Takes a trained recognizer elsewhere: `python -m dstadapter_jax.export`."""
