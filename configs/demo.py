"""The demo: eight synthetic signs, trained on a laptop's CPU by `python -m dstadapter_jax.demo`.

    python launch.py --config configs/demo.py --config.data.dir=demo/data

Differences from the recipe: a network and input small enough for two cores; a higher learning rate
for fewer, shorter epochs; milder crops and colors, since a twelfth of a 64x64 frame shows no hands.
Flips stay: a flipped signer is a left-handed one, and some of the signers are left-handed.

Expected on unseen signers: top-1 0.99 to 1.00, and 0.58 to 0.60 with --config.tune=head, which
distinguishes a sign from its time-reversed pair no better than chance.
"""

import pathlib

from ml_collections import ConfigDict

import dstadapter_jax
from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config()
    config.model.update(num_classes=8, input_resolution=64, patch_size=16, width=96, layers=4)
    config.model.heads = 6
    config.model.dtype = "float32"
    # Pretrained on still frames by `python -m dstadapter_jax.demo.stills`, in place of CLIP.
    package = pathlib.Path(dstadapter_jax.__file__).parent
    config.model.activation = "quick_gelu"
    config.pretrained = str(package / "demo" / "backbone.safetensors")
    config.pretrained_revision = ""
    config.num_epochs = 40
    config.optimizer.learning_rate = 1e-2
    config.log_every_steps = 10
    config.validate_last_epochs = 5
    config.data.name = "recordings/frames"
    config.data.num_threads = 4
    config.preprocess.randaugment_layers = 2
    config.preprocess.randaugment_magnitude = 4
    config.preprocess.crop_area = (0.6, 1.0)
    return config
