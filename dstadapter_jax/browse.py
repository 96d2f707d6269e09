"""Draws what the network sees, as a contact sheet.

    python -m dstadapter_jax.browse --config configs/NAME.py -o sheet.png [--split train]
        [--num_clips 8] [--config.field=value …]

Of the training split: the first clips of the run that launch.py would start with these --config
flags, augmented as there; --config.seed=1 gives others. Of validation and test: clips from all
over the split, with the views that they are scored by. The pixels are the network's input before
normalization. Stdout gets one JSON object that names the clips.
"""

import json
import pathlib
import sys

from absl import flags

from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.visualization.browse import draw_clips

MAX_CLIPS = 100  # a picture of so many is as high as viewers open


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    values = define_config_flags(argv)
    flags.DEFINE_string("output", None, "PNG file to draw.", values, short_name="o")
    flags.DEFINE_enum("split", "train", SPLITS, "Whose clips.", values)
    flags.DEFINE_integer("num_clips", 8, "How many.", 1, MAX_CLIPS, values)
    config = parse_config_flags(values, argv, "output", str(__doc__))
    path = pathlib.Path(values.output).expanduser()
    if path.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a name that ends in .png, found {path}")
    clips = draw_clips(config, values.split, values.num_clips, path)
    print(json.dumps({"sheet": str(path), "clips": clips}))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
