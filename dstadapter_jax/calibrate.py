"""Finds out how a run tells signs in a stream: `python -m dstadapter_jax.calibrate --workdir DIR`.

Puts clips of the training split in a row, with gaps in which nobody signs, and learns what in it is
a sign and what is none; sets on the validation split how sure to be, and says what that finds there
and in the test split. `--idle FOLDER` has footage of people who don't sign, for the gaps, as
`FOLDER/SIGNER/….mp4` or `FOLDER/….mp4`; without, clips are held at their first and last frames.

Writes `DIR/stream.json`, for `predict --stream`, `predict --webcam` and `export adapter`. The last
line on stdout is one JSON object.
"""

import argparse
import json
import logging
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.spotting.calibration import NUM_CLIPS, calibrate_run

logger = logging.getLogger("dstadapter_jax.calibrate")  # __name__ is "__main__" here


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.calibrate", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, required=True, help="of a run")
    parser.add_argument("--step", default="best", help="best (by validation), last, or a number")
    parser.add_argument("--data_dir", default="", help="where the dataset is, if it has moved")
    parser.add_argument("--backbone", default="", help="where its file is, if it has moved")
    parser.add_argument(
        "--idle", type=expanded_path, metavar="FOLDER", help="videos of people who don't sign"
    )
    parser.add_argument(
        "--clips", type=int, default=NUM_CLIPS, help=f"of each split; {NUM_CLIPS} unless told"
    )
    args = parser.parse_args(argv)
    if args.clips < 1:
        parser.error(f"--clips: expected at least 1, found {args.clips}")
    result = calibrate_run(
        args.workdir, args.step, args.data_dir, args.backbone, args.idle, args.clips
    )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
