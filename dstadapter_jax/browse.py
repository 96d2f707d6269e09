"""Draws what the network sees, as a contact sheet.

    python -m dstadapter_jax.browse --config configs/NAME.py -o sheet.png [--split train]
        [--num_clips 8] [--config.field=value …]

Of the training split: the first clips of the run that launch.py would start with these --config
flags, augmented as there; --config.seed=1 gives others. Of validation and test: clips from all
over the split, with the views that they are scored by. The pixels are the network's input before
normalisation. Stdout gets one JSON object that names the clips.
"""

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from dstadapter_jax.cli.main import config_flag_values, main_with_messages, parse_config
from dstadapter_jax.data.datasets import SPLITS, ClipDataset, open_dataset
from dstadapter_jax.data.loader import describe, example_views, train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.inference.recognizer import preprocess_config
from dstadapter_jax.visualization.contact_sheet import SheetRow, draw_sheet

MOST_CLIPS = 100  # a picture of so many is as high as viewers open


def read_clips(
    config: ConfigDict, dataset: ClipDataset, split: str, num_clips: int
) -> Iterator[dict[str, Any]]:
    """Yields clips as the network gets them.

    Args:
        config: Of a run.
        dataset: The run's.
        split: `train`, `validation` or `test`.
        num_clips: How many, if the split has them.

    Yields:
        `views` (V, T, R, R, 3) uint8, and what `input_pipeline.describe` tells.
    """
    cfg, decoder = preprocess_config(config), config.data.decoder
    source = dataset.source(split)
    num_clips = min(num_clips, len(source))
    if split == "train":
        # Batches of one: the same clips in the same order, but no fewer than a batch are refused.
        clips = train_clips(
            dataset, cfg, batch_size=1, num_epochs=1, seed=config.seed, decoder=decoder
        )
        for place in range(num_clips):
            clip = dict(clips[place])
            yield {"views": clip.pop("clip")[np.newaxis], **clip}
        return
    for place in np.linspace(0, len(source) - 1, num_clips).round().astype(int):
        example = source[place]
        views, _, indices = example_views(example, cfg, decoder, split, None)
        yield {"views": views, **describe(example, indices)}


def draw_clips(config: ConfigDict, split: str, num_clips: int, path: pathlib.Path) -> list[dict]:
    """Draws the sheet of `read_clips`; returns what JSON can hold of each clip."""
    check_decoder(config.data.decoder)
    dataset = open_dataset(config.data.name, config.data.dir, config.data.test_signer)
    clips = list(read_clips(config, dataset, split, num_clips))
    names = dataset.label_names
    title = f"{config.data.name}, {split}: {len(clips)} of {dataset.num_clips[split]:,} clips"
    rows = [_row(clip, names[clip["label"]]) for clip in clips]
    draw_sheet(path, title, _recipe(preprocess_config(config), split, config.seed), rows)
    return [
        {
            "id": clip["id"],
            "label": names[clip["label"]],
            "signer": clip["signer"],
            "frames": clip["indices"].tolist(),
        }
        for clip in clips
    ]


def _recipe(cfg: PreprocessConfig, split: str, seed: int) -> str:
    size = f"{cfg.num_frames} frames of {cfg.resolution}x{cfg.resolution}"
    if split != "train":
        return f"{size}, every view that is scored"
    smallest, largest = cfg.crop_area
    return (
        f"{size}; {cfg.randaugment_layers} operations of RandAugment at level"
        f" {cfg.randaugment_magnitude:g}, crops of {smallest:.0%} to {largest:.0%} of the frame,"
        f" {cfg.flip_probability:.0%} flipped; seed {seed}"
    )


def _row(clip: Mapping[str, Any], label: str) -> SheetRow:
    details = [f"label {clip['label']}", clip["id"]]
    if clip["signer"]:
        details.append(f"signer {clip['signer']}")
    captions = [f"frame {index}" for index in clip["indices"]]
    return SheetRow(label, "  ·  ".join(details), captions, clip["views"])


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
    values = config_flag_values(argv)
    flags.DEFINE_string("output", None, "PNG file to draw.", values, short_name="o")
    flags.DEFINE_enum("split", "train", SPLITS, "Whose clips.", values)
    flags.DEFINE_integer("num_clips", 8, "How many.", 1, MOST_CLIPS, values)
    config = parse_config(values, argv, "output", str(__doc__))
    path = pathlib.Path(values.output).expanduser()
    if path.suffix.lower() != ".png":
        raise ValueError(f"--output: expected a name that ends in .png, found {path}")
    clips = draw_clips(config, values.split, values.num_clips, path)
    print(json.dumps({"sheet": str(path), "clips": clips}))
    return 0


if __name__ == "__main__":
    sys.exit(main_with_messages(main))
