"""INCLUDE (263 Indian signs), ViT-L/14.

    python launch.py --config configs/include_vitl.py

Reported by the authors: top-1 97.06 %, top-5 99.12 %, on an unknown split; not yet reproduced here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config("vit_l14")
    config.model.num_classes = 263
    config.optimizer.learning_rate = 5e-4
    config.data.name = "include/full"
    return config
