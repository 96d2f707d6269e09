r"""Your own recordings, ViT-B/16: the recipe that the reference uses for its smaller datasets.

    python -m tfds_builders recordings --manual_dir VIDEOS --data_dir DATA
    python launch.py --config configs/recordings_vitb.py --workdir DIR \
        --config.data.dir=DATA --config.model.num_classes=N

No score is expected: it is your dataset. A wrong N is refused with the right one.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """What differs from the common recipe."""
    config = common.get_config("vit_b16")
    config.data.name = "recordings/frames"
    return config
