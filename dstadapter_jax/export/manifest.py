"""What to know to run an exported program without this project: how a video becomes its input."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from dstadapter_jax.adapters.schema import portable
from dstadapter_jax.data.preprocess import IMAGE_MEAN, IMAGE_STD
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig

VERSION = 1  # raised when a field changes its meaning
SIZES = ("patch_size", "width", "layers", "heads", "spatial_kernel")
INPUT, OUTPUT = "views", "probabilities"


def make_manifest(
    cfg: ModelConfig,
    recognizer: Recognizer,
    program: Mapping[str, Any],
    check: Mapping[str, Any],
    packages: Sequence[str],
) -> dict[str, Any]:
    """The contract of a program, as JSON can hold it.

    Args:
        cfg: Of the program.
        recognizer: What was exported.
        program: Which file it is, and of which format.
        check: How far the program was from the model, on what.
        packages: Whose versions to tell.
    """
    side, config, backbone = cfg.input_resolution, recognizer.config, recognizer.backbone
    return {
        "manifest_version": VERSION,
        "program": {**program, "dtype": cfg.dtype},
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "shape": ["batch", cfg.num_frames, side, side, 3],
            "axes": ["view", "frame", "row", "column", "color"],
        },
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": ["batch", cfg.num_classes],
            "axes": ["view", "label"],
        },
        "labels": list(recognizer.label_names),
        "preprocessing": preprocessing_fields(cfg),
        "preprocessing_description": _in_words(cfg),
        "model": {name: getattr(cfg, name) for name in SIZES},
        "backbone": {**dataclasses.asdict(backbone), "source": portable(backbone.source)},
        "training": {
            "dataset": config["data"]["name"],
            "tune": config["tune"],
            "dtype": config["model"]["dtype"],
            "step": recognizer.step,
        },
        "versions": {name: metadata.version(name) for name in packages},
        "check": dict(check),
    }


def preprocessing_fields(cfg: ModelConfig) -> dict[str, Any]:
    """From a video to views, for programs to read; the same in words is what `_in_words` says.

    `N` is the number of frames, `i` a view's frame, `short` and `long` a frame's sides; `round`
    goes to the even number at halves.
    """
    return {
        "num_frames": cfg.num_frames,
        "frame": "round((N - 1) / num_frames * i) + floor((N - 1) / num_frames / 2)",
        "resolution": cfg.input_resolution,
        "short_side": "resolution",
        "long_side": "floor(long * (resolution / short) + 0.5)",
        "interpolation": "bilinear",
        "antialias": False,
        "colors": "RGB",
        "crops": ["start", "end", "middle"],
        "normalized_by": "program",
        "mean": IMAGE_MEAN.tolist(),
        "std": IMAGE_STD.tolist(),
        "average_over_views": "mean",
    }


def _in_words(cfg: ModelConfig) -> list[str]:
    frames, side = cfg.num_frames, cfg.input_resolution
    return [
        "Decode the video; N is the number of frames that are shown. Turn them upright, as the"
        " file's display matrix says.",
        f"Take {frames} frames, numbered from 0 in the order they are shown: for i = 0 to"
        f" {frames - 1} frame round((N - 1) / {frames} * i) + floor((N - 1) / {frames} / 2). Halves"
        " are rounded to the even number. A short video gives some frames several times.",
        "Make them 8-bit RGB by the stream's own matrix and range; each pixel takes the chroma of"
        " its own block, not interpolated.",
        f"Resize them bilinearly so that the short side is {side}, the long side long * {side} /"
        " short, halves rounded up. Pixel centers are at half-integers; there is no smoothing"
        " before (OpenCV's INTER_LINEAR).",
        f"Cut three squares of side {side}: at the start (left or top) of the long side, at the"
        " end, and in the middle. With step = floor((long - short) / 2) they begin at 0, at 2 *"
        " step and at step. Of a square video all are the same: one will do.",
        f"These are the views: uint8, (view, frame {frames}, row {side}, column {side}, color 3),"
        " values 0 to 255. The program normalizes them itself.",
        "The program gives each view's probabilities. The video's are their mean over the three.",
    ]
