"""A page that recognises signs in uploaded and recorded clips: `python -m dstadapter_jax.app`."""
