"""Manifest of an exported program: preprocessing, input, output, labels and origin."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, Literal

import msgspec

from dstadapter_jax.adapters.schema import Count, Document, portable
from dstadapter_jax.data.normalization import IMAGE_MEAN, IMAGE_STD
from dstadapter_jax.inference.recognizer import Recognizer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.pretrained.backbone import BackboneRef

SIZES = ("patch_size", "width", "layers", "heads", "spatial_kernel")
INPUT, OUTPUT = "views", "probabilities"


class Program(Document, omit_defaults=True):
    """The program file; the last four fields depend on its kind."""

    file: str
    kind: Literal["stablehlo", "onnx"]
    sha256: str
    dtype: Literal["float32"]
    platforms: tuple[str, ...] = ()
    calling_convention_version: int = 0
    opset: int = 0
    ir_version: int = 0


class Tensor(Document):
    """Input or output of the program; `batch` stands for any number."""

    name: str
    dtype: str
    shape: tuple[Literal["batch"] | int, ...]
    axes: tuple[str, ...]


class Training(Document):
    """Origin of the weights."""

    dataset: str
    tune: str
    dtype: str
    step: Count


class Check(Document):
    """Comparison of the program with the model."""

    num_clips: Count
    num_views: Count
    largest_probability_difference: float
    allowed_difference: float


class Manifest(Document):
    """The document `PROGRAM.json`."""

    manifest_version: Literal[1]
    program: Program
    input: Tensor
    output: Tensor
    labels: tuple[str, ...]
    preprocessing: dict[str, Any]
    preprocessing_description: tuple[str, ...]
    model: dict[str, int | tuple[int, ...]]
    backbone: BackboneRef
    training: Training
    versions: dict[str, str]
    check: Check


def make_manifest(
    cfg: ModelConfig,
    recognizer: Recognizer,
    program: Mapping[str, Any],
    check: Mapping[str, Any],
    packages: Sequence[str],
) -> Manifest:
    """Build and validate the manifest of a program whose model has the sizes `cfg`.

    `program` has the fields of `Program` other than `dtype`, `check` those of `Check`.
    """
    side, config, backbone = cfg.input_resolution, recognizer.config, recognizer.backbone
    document = {
        "manifest_version": 1,
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
        "labels": recognizer.label_names,
        "preprocessing": preprocessing_fields(cfg),
        "preprocessing_description": _description(cfg),
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
    return msgspec.convert(document, Manifest)


def preprocessing_fields(cfg: ModelConfig) -> dict[str, Any]:
    """Machine-readable preprocessing from a video to views; `_description` is for people.

    In the formulas, `N` is the number of the video's frames, `i` the index of a frame in a view,
    and `short` and `long` are the sides of a frame. `round` rounds halves to even.
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


def _description(cfg: ModelConfig) -> list[str]:
    frames, side = cfg.num_frames, cfg.input_resolution
    return [
        "Decode the video; N is the number of frames in display order. Rotate the frames upright,"
        " as the display matrix of the file specifies.",
        f"Choose {frames} frames, counted from 0: for i = 0 to {frames - 1} the frame"
        f" round((N - 1) / {frames} * i) + floor((N - 1) / {frames} / 2). Halves are rounded to"
        " even. Frames of a short video are chosen several times.",
        "Convert them to 8-bit RGB with the matrix and range of the stream. Chroma is not"
        " interpolated: each pixel has the chroma of its block.",
        f"Resize them bilinearly, the short side to {side} and the long side to long * {side} /"
        " short, with halves rounded up. Pixel centers are at half-integers, and there is no"
        " antialiasing (OpenCV's INTER_LINEAR).",
        f"Crop three squares of side {side}: at the start (left or top) of the long side, at its"
        " end, and in its middle. With step = floor((long - short) / 2) they begin at 0, 2 * step"
        " and step. For a square video all three are equal, so one is enough.",
        f"These are the views: uint8, (view, frame {frames}, row {side}, column {side}, color 3),"
        " values 0 to 255. The program normalizes them.",
        "The program returns the probabilities of each view. The mean over the three views gives"
        " the probabilities of the video.",
    ]
