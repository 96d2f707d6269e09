"""Draw clips as the network sees them, as a contact sheet.

    python -m dstadapter_jax.browse --config configs/NAME.py -o sheet.png [--split train]
        [--num_clips 8] [--config.field=value …]

For the training split: the first clips of a run with these --config flags, augmented as in the run;
--config.seed=1 selects others. For validation and test: clips evenly spaced over the split, with
the views that are scored. Pixels are shown before normalization. Stdout receives one JSON object
that lists the clips.
"""

import json
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import png_path

MAX_CLIPS = 100  # viewers open no higher pictures


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    from absl import flags

    from dstadapter_jax.cli.config_flags import define_config_flags, parse_config_flags
    from dstadapter_jax.cli.defaults import fill_data_dir
    from dstadapter_jax.data.splits import SPLITS
    from dstadapter_jax.visualization.browse import draw_clips

    values = define_config_flags(argv)
    flags.DEFINE_string("output", None, "PNG file to write.", values, short_name="o")
    flags.DEFINE_enum("split", "train", SPLITS, "Split of the clips.", values)
    flags.DEFINE_integer("num_clips", 8, "Number of clips.", 1, MAX_CLIPS, values)
    config = parse_config_flags(values, argv, str(__doc__), "output")
    path = png_path(values.output)
    fill_data_dir(config)
    clips = draw_clips(config, values.split, values.num_clips, path)
    print(json.dumps({"sheet": str(path), "clips": clips}))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
