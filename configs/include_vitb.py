"""INCLUDE (263 Indian signs), ViT-B/16.

    python launch.py --config configs/include_vitb.py

Reported by the authors: top-1 95.29 %, top-5 99.41 %, on an unknown split; not yet reproduced here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config("vit_b16")
    config.model.num_classes = 263
    config.data.name = "include/full"
    return config
