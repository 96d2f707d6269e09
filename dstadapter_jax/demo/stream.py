"""Spot the demo's signs in a long video: `python -m dstadapter_jax.demo.stream`, after the demo.

Concatenates the test clips, with pauses between them, to `stream.mp4`, and writes the
annotations to `stream.csv`. Calibrates sign spotting on the run (`dstadapter_jax.calibrate`), spots
the signs in the video, and prints the detection counts.
"""

import argparse
import csv
import json
import logging
import pathlib
import sys

import msgspec
import numpy as np

from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.video.reader import iter_frames
from dstadapter_jax.demo.signer import Painter, Signer
from dstadapter_jax.demo.signs import FPS, REST, SPLITS, write_mp4
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.spotting.calibration import calibrate_run, summary
from dstadapter_jax.spotting.fit import count_detections
from dstadapter_jax.spotting.recognize import spot_signs
from dstadapter_jax.spotting.sources import read_video
from dstadapter_jax.spotting.synthetic import GAP_SECONDS, Annotation

logger = logging.getLogger("dstadapter_jax.demo.stream")  # __name__ is "__main__" here

BACKGROUND_CLIPS, BACKGROUND_FRAMES = 6, 75  # clips per signer, frames per clip


def film_background(folder: pathlib.Path, seed: int) -> None:
    """Render background footage of every signer standing still, `FOLDER/SIGNER/TAKE.mp4`."""
    for number in range(len(SPLITS)):
        signer = Signer.draw(np.random.default_rng((seed, number)))
        (folder / f"signer{number}").mkdir(parents=True, exist_ok=True)
        for take in range(BACKGROUND_CLIPS):
            rng = np.random.default_rng((seed, number, len(SPLITS), take))
            path = folder / f"signer{number}" / f"{take}.mp4"
            write_mp4(path, _standing(signer, BACKGROUND_FRAMES, rng))


def _standing(signer: Signer, frames: int, rng: np.random.Generator) -> np.ndarray:
    painter, hands = Painter(signer, rng), np.array([REST, REST])
    return np.stack([painter.frame(hands, "flat", rng) for _ in range(frames)])


def compose_video(workdir: pathlib.Path, seed: int) -> list[tuple[str, float, float]]:
    """Concatenate all test clips in random order, with a gap before each, to `stream.mp4`.

    Returns:
        Label, start and end in seconds of each sign in the video.
    """
    recordings = workdir / "recordings"
    with (recordings / "recordings.csv").open(newline="", encoding="utf-8") as file:
        clips = [row for row in csv.DictReader(file) if row["split"] == "test"]
    rng = np.random.default_rng((seed, len(SPLITS)))
    frames: list[np.ndarray] = []
    annotations = []
    for place in rng.permutation(len(clips)):
        clip = clips[place]
        signer = Signer.draw(np.random.default_rng((seed, int(clip["signer"][len("signer") :]))))
        frames += list(_standing(signer, round(rng.uniform(*GAP_SECONDS) * FPS), rng))
        start = len(frames)
        frames += list(iter_frames(recordings / clip["path"]))
        annotations.append((clip["label"], start / FPS, (len(frames) - 1) / FPS))
    write_mp4(workdir / "stream.mp4", np.stack(frames))
    return annotations


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dstadapter_jax.demo.stream", description=__doc__
    )
    parser.add_argument("--workdir", type=expanded_path, default=pathlib.Path("demo"))
    args = parser.parse_args(argv)
    run, video = args.workdir / "adapter", args.workdir / "stream.mp4"
    recognizer = Recognizer.load(run)
    seed = recognizer.config["seed"]
    logger.info("rendering background footage and concatenating all test clips")
    film_background(args.workdir / "background", seed)
    annotations = compose_video(args.workdir, seed)
    with (args.workdir / "stream.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "start", "end"), *annotations])
    settings = calibrate_run(run, background=args.workdir / "background")
    print(json.dumps(summary(settings, run)))
    frames = read_video(str(video))
    found = list(spot_signs(recognizer, settings, frames, str(video), live=False))
    names = recognizer.label_names
    result = count_detections(
        found, [Annotation(names.index(label), *times) for label, *times in annotations]
    )
    print(json.dumps({"video": str(video), **msgspec.to_builtins(result)}))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
