"""Calibrate sign spotting for a run: `python -m dstadapter_jax.calibrate [--workdir DIR]`.

Fits a sign/no-sign classifier on concatenated training clips, picks its threshold on the validation
split, and measures detections on that and on the test split. `--background_videos FOLDER` holds
footage of people who do not sign for the gaps between clips, as `FOLDER/SIGNER/….mp4` or
`FOLDER/….mp4`; without it, clips are held at their first and last frames.

Writes `DIR/spotting.json`, for `predict --stream`, `predict --webcam` and `export adapter`. The
last line on stdout is one JSON object.
"""

import argparse
import json
import sys

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    from dstadapter_jax.inference.arguments import RUN_HELP
    from dstadapter_jax.inference.runs import newest_run
    from dstadapter_jax.spotting.calibration import NUM_CLIPS, calibrate_run, summary

    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.calibrate", description=__doc__)
    parser.add_argument("--workdir", type=expanded_path, help=RUN_HELP)
    parser.add_argument("--step", default="best", help="best (by validation), last, or a number")
    parser.add_argument("--data_dir", default="", help="folder of the dataset, if it has moved")
    parser.add_argument("--backbone", default="", help="backbone file, if it has moved")
    parser.add_argument(
        "--background_videos",
        type=expanded_path,
        metavar="FOLDER",
        help="videos of people who do not sign",
    )
    parser.add_argument(
        "--clips", type=int, default=NUM_CLIPS, help=f"maximum per split; default {NUM_CLIPS}"
    )
    args = parser.parse_args(argv)
    if args.clips < 1:
        parser.error(f"--clips: expected at least 1, found {args.clips}")
    workdir = args.workdir or newest_run()
    settings = calibrate_run(
        workdir, args.step, args.data_dir, args.backbone, args.background_videos, args.clips
    )
    print(json.dumps(summary(settings, workdir)))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
