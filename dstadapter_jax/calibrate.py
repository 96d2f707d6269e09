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
import math
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from dstadapter_jax.cli.main import expanded_path, main_with_messages
from dstadapter_jax.data.datasets import ClipDataset, open_dataset
from dstadapter_jax.data.video.reader import DEFAULT_FPS
from dstadapter_jax.inference.recognizer import Recogniser
from dstadapter_jax.spotting.detector import detect
from dstadapter_jax.spotting.fit import count, fit_plane, set_threshold
from dstadapter_jax.spotting.inference import Network, TickOutputs, make_network, run_windows
from dstadapter_jax.spotting.recognize import TICKS_AT_ONCE
from dstadapter_jax.spotting.settings import (
    FILE,
    MAX_SECONDS,
    MAX_WINDOWS,
    MIN_SECONDS,
    StreamSettings,
)
from dstadapter_jax.spotting.synthetic import Annotation, ComposedStream, Idle
from dstadapter_jax.spotting.windows import ROUNDING, TICKS_A_WINDOW, SlidingWindows

logger = logging.getLogger("dstadapter_jax.calibrate")  # __name__ is "__main__" here

NUM_CLIPS = 300  # of a split
FEW_SIGNS = 20
TICKS_TO_FIT = 4  # a window: neighbours teach little that is new
WIDEST_STEP = 1.5  # of a window's length to the next: each sign is as long as one, within a fifth


class Calibrator:
    """Composes streams of a dataset's clips and goes through them.

    Attributes:
        dataset: Whose.
    """

    def __init__(self, recogniser: Recogniser, dataset: ClipDataset, idle: Idle, num_clips: int):
        """With at most `num_clips` of a split; of a single sign raises ValueError."""
        if len(recogniser.label_names) < 2:
            raise ValueError(
                "expected a run of at least two signs: a sign is told from the others."
            )
        self._recogniser, self.dataset, self._idle = recogniser, dataset, idle
        self._num_clips = num_clips
        self._network: Network = make_network(recogniser.model)

    def window_seconds(self) -> tuple[float, ...]:
        """Lengths as training clips have them, but for the shortest and the longest of them."""
        source = self.dataset.source("train")
        clips = (source[number] for number in self._numbers("train"))
        seconds = [
            (int(clip["num_frames"]) - 1) / (float(clip["fps"]) or DEFAULT_FPS) for clip in clips
        ]
        ends = np.clip(np.quantile(seconds, (0.05, 0.95)), MIN_SECONDS, MAX_SECONDS)
        shortest, longest = ends.tolist()
        steps = math.ceil(math.log(longest / shortest) / math.log(WIDEST_STEP) - ROUNDING)
        steps = min(steps, MAX_WINDOWS - 1)
        return tuple(round(float(s), 3) for s in np.geomspace(shortest, longest, steps + 1))

    def go_through(
        self, split: str, lengths: tuple[float, ...], ticks: int = TICKS_A_WINDOW
    ) -> tuple[list[TickOutputs], list[Annotation]]:
        """What is seen in a stream of a split's clips, and what it shows."""
        source, numbers = self.dataset.source(split), self._numbers(split)
        progress = tqdm(numbers, split, unit="clip", disable=None, leave=False)
        examples = (source[number] for number in progress)
        decoder = self._recogniser.config["data"]["decoder"]
        stream = ComposedStream(examples, decoder, self._recogniser.preprocess, self._idle, seed=0)
        sliding = SlidingWindows(lengths, self._recogniser.preprocess, ticks)
        batches = ([frame] for frame in stream)
        outputs = list(run_windows(batches, sliding, self._network, TICKS_AT_ONCE))
        return outputs, stream.shown

    def _numbers(self, split: str) -> Sequence[int]:
        """Which clips of a split, drawn once and for all."""
        count = self.dataset.num_clips.get(split, 0)
        return np.random.default_rng(0).permutation(count)[: self._num_clips].tolist()


def calibrate(calibrator: Calibrator) -> StreamSettings:
    """Fits to the training split, sets the threshold on validation, measures on that and on test.

    Raises:
        ValueError: There are too few clips.
        ClipError: One can't be read.
        DivergedError: What the model says isn't finite.
    """
    lengths = calibrator.window_seconds()
    logger.info("windows of %s seconds", ", ".join(map(str, lengths)))
    plane = fit_plane(*calibrator.go_through("train", lengths, TICKS_TO_FIT))
    validation = calibrator.go_through("validation", lengths)
    if len(validation[1]) < FEW_SIGNS:
        logger.warning(
            "there are only %d validation clips: how sure to be hangs on chance", len(validation[1])
        )
    scorer = set_threshold(*validation, plane)
    streams = {"validation": validation}
    if calibrator.dataset.num_clips.get("test"):
        streams["test"] = calibrator.go_through("test", lengths)
    figures = {}
    for split, (ticks, shown) in streams.items():
        signs = list(detect(ticks, scorer, lengths[-1]))
        figures[split] = count(signs, shown)._asdict()
    return StreamSettings(
        window_seconds=lengths,
        weights=tuple(scorer.weights.tolist()),
        bias=scorer.bias,
        figures=figures,
    )


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
    recogniser = Recogniser.load(args.workdir, args.step, args.backbone)
    data = recogniser.config["data"]
    dataset = open_dataset(data["name"], args.data_dir or data["dir"], data.get("test_signer", ""))
    idle = Idle(args.idle, recogniser.preprocess)
    settings = calibrate(Calibrator(recogniser, dataset, idle, args.clips))
    settings.save(args.workdir, recogniser.step)
    result = {"settings": str(args.workdir / FILE), "window_seconds": settings.window_seconds}
    print(json.dumps({**result, **settings.figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
