"""DSTAdapter in JAX: recognizes isolated signs in video with a frozen CLIP image tower."""

import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # One of our commands is starting: until its main takes over, Ctrl-C ends it without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained.loading import dump_weights, load_weights

__version__ = "0.1.0"
__all__ = ["DSTAdapter", "ModelConfig", "dump_weights", "load_weights"]
