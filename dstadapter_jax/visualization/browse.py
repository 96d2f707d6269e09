"""Contact sheets of a dataset's preprocessed clips."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_clips
from dstadapter_jax.data.preprocess import PreprocessConfig, preprocess_config
from dstadapter_jax.data.records import clip_metadata, example_views
from dstadapter_jax.data.video.reader import check_decoder
from dstadapter_jax.visualization.contact_sheet import SheetRow, draw_sheet


def read_clips(
    config: ConfigDict, dataset: ClipDataset, split: str, num_clips: int
) -> Iterator[dict[str, Any]]:
    """Yields at most `num_clips` preprocessed clips, the input of the network.

    Yields:
        `views` (V, T, R, R, 3) uint8, and the fields of `data.loader.clip_metadata`.
    """
    cfg, decoder = preprocess_config(config), config.data.decoder
    source = dataset.source(split)
    num_clips = min(num_clips, len(source))
    if split == "train":
        # Training refuses splits smaller than a batch; the batch size does not change the order.
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
        yield {"views": views, **clip_metadata(example, indices)}


def draw_clips(config: ConfigDict, split: str, num_clips: int, path: pathlib.Path) -> list[dict]:
    """Draws a contact sheet of `read_clips` and returns each clip's metadata as JSON values."""
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
        return f"{size}, all views that are scored"
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
