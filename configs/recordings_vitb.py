"""Your own recordings, ViT-B/16, with the reference's recipe for its smaller datasets.

    python -m tfds_builders recordings --manual_dir VIDEOS
    python launch.py --config configs/recordings_vitb.py --config.model.num_classes=N

N is the number of signs; the error for a wrong N states the right one.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The common recipe with the differences of this experiment."""
    config = common.get_config("vit_b16")
    config.data.name = "recordings/frames"
    return config
