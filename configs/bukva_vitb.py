"""Bukva (33 letters of Russian fingerspelling), ViT-B/16.

    python launch.py --config configs/bukva_vitb.py

Reported by the authors: top-1 95.44 %, top-5 99.26 %, on an unknown split; not yet reproduced here.
The released config has 34 outputs; its class 0, `no_event`, has no clips. This config has 33.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config("vit_b16")
    config.model.num_classes = 33
    config.data.name = "bukva/trimmed"
    return config
