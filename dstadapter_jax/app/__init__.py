"""Web page that recognizes signs in uploaded and recorded clips: `python -m dstadapter_jax.app`."""
