"""Bukva (33 letters of Russian fingerspelling), ViT-L/14.

    python launch.py --config configs/bukva_vitl.py

Reported by the authors: top-1 96.62 %, top-5 99.17 %, on an unknown split; not yet reproduced here.
The released config has 34 outputs; its class 0, `no_event`, has no clips. This config has 33.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config("vit_l14")
    config.model.num_classes = 33
    config.data.name = "bukva/trimmed"
    return config
