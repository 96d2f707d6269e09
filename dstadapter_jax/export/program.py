"""Common part of the exports of whole programs: float32 model, verification on clips, manifest."""

import argparse
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import msgspec
import numpy as np
from flax import nnx
from tqdm import tqdm

from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.records import example_views
from dstadapter_jax.errors import UserError
from dstadapter_jax.export.manifest import make_manifest
from dstadapter_jax.files.atomic import atomic_paths
from dstadapter_jax.inference.arguments import add_arguments, load_recognizer, parse
from dstadapter_jax.inference.ranking import read_clip
from dstadapter_jax.inference.recognizer import Recognizer, view_probabilities
from dstadapter_jax.models.dstadapter import DSTAdapter

MAX_BYTES = 2**31 - 2**24  # flatbuffers and protocol buffers end at 2 GiB; the rest is structure
MAX_DIFFERENCE = 1e-5  # between probabilities; rounding causes about 1e-7
NUM_CLIPS = 8  # of the validation split

Run = Callable[[np.ndarray], np.ndarray]  # (B, T, R, R, 3) uint8 -> (B, classes) float32


class ProgramFormat(NamedTuple):
    """A format of program files.

    Attributes:
        kind: Name on the command line.
        build: Function from a model to the file's content and fields of `manifest.Program`.
        load: Function from a file to a callable that runs it on the CPU.
        packages: Packages whose versions the manifest records.
    """

    kind: str
    build: Callable[[DSTAdapter], tuple[bytes | bytearray, dict[str, Any]]]
    load: Callable[[pathlib.Path], Run]
    packages: tuple[str, ...]


def export_program(program: ProgramFormat, description: str, argv: list[str]) -> int:
    """Run a subcommand of `python -m dstadapter_jax.export`; `description` is its help.

    The files appear only once the program, read back from disk, has given the model's outputs.
    """
    args = _parse(program.kind, description, argv)
    # Accelerators round float32 products more coarsely than the check allows, and may be busy.
    jax.config.update("jax_platforms", "cpu")
    manifest_path = args.output.with_name(args.output.name + ".json")
    with atomic_paths(args.output, manifest_path) as (program_file, manifest_file):
        _write(args.output, program_file, b"")  # fails before any work if it can't be written
        recognizer = load_recognizer(args)
        model = _in_float32(recognizer.model)
        clips = list(_reference_clips(args.videos, args.data_dir, recognizer))
        content, fields = program.build(model)
        _write(args.output, program_file, content)
        check = _check(args.output, model, program.load(program_file), clips)
        sha256 = hashlib.sha256(content).hexdigest()
        fields |= {"file": args.output.name, "kind": program.kind, "sha256": sha256}
        manifest = make_manifest(model.cfg, recognizer, fields, check, program.packages)
        text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        _write(manifest_path, manifest_file, text)
    files = {"program": str(args.output), "manifest": str(manifest_path), "bytes": len(content)}
    print(json.dumps(files | check))
    return 0


def _parse(kind: str, description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m dstadapter_jax.export {kind}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("-o", "--output", type=expanded_path, required=True, metavar="FILE")
    parser.add_argument("--data_dir", default="", help="folder of the dataset, if it has moved")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="videos to check the program on")
    return parse(parser, argv)


def _in_float32(model: DSTAdapter) -> DSTAdapter:
    """The model in float32, since many runtimes lack bfloat16, with weights as NumPy arrays."""
    cfg = dataclasses.replace(model.cfg, dtype="float32")
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0))))
    weights = jax.tree.map(np.asarray, nnx.state(model))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(weights))
    if size > MAX_BYTES:
        raise UserError(
            "--output",
            expected=f"at most {MAX_BYTES / 1e9:.1f} GB of weights, the limit of the file formats",
            found=f"{size / 1e9:.1f} GB",
        )
    return nnx.merge(graphdef, weights)


def _write(path: pathlib.Path, temporary: pathlib.Path, content: bytes | bytearray) -> None:
    """Write the temporary file of `path`; errors name `path`."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
    except OSError as error:
        size = f"{len(content) / 1e6:.1f} MB " if content else ""
        raise UserError(str(path), problem=f"{size}can't be written: {error.strerror}") from error


def _reference_clips(
    videos: list[str], data_dir: str, recognizer: Recognizer
) -> Iterator[np.ndarray]:
    """Yield the views `(V, T, R, R, 3)` of the given videos, or else of validation clips."""
    if videos:
        for video in videos:
            yield read_clip(recognizer, video).views
        return
    data = recognizer.config["data"]
    try:
        source = open_dataset(data["name"], data_dir or data["dir"]).source("validation")
    except ValueError as error:
        raise UserError(
            "--data_dir",
            problem=f"no validation clips to check the program on ({error})",
            advice="Pass the dataset's folder, --data_dir OUT, or videos, -o FILE VIDEO …",
        ) from error
    for place in np.unique(np.linspace(0, len(source) - 1, NUM_CLIPS).round().astype(int)):
        yield example_views(source[place], recognizer.preprocess, data["decoder"], "test", None)[0]


def _check(
    path: pathlib.Path, model: DSTAdapter, run: Run, clips: list[np.ndarray]
) -> dict[str, Any]:
    """Compare the program with the model on clips; raises UserError if they differ too much."""
    expected = jax.jit(lambda views: view_probabilities(model, views))
    largest = 0.0
    for views in tqdm(clips, "checking", unit="clip", disable=None, leave=False):
        largest = np.maximum(largest, np.abs(run(views) - np.asarray(expected(views))).max())
    if not largest <= MAX_DIFFERENCE:  # also true for NaN
        raise UserError(
            str(path),
            problem="not written, since the program's probabilities differ from the model's",
            expected=f"differences up to {MAX_DIFFERENCE:g}",
            found=f"{largest:.2g} on {len(clips)} clips",
            advice="Install the versions in the requirements files.",
        )
    return {
        "num_clips": len(clips),
        "num_views": sum(map(len, clips)),
        "largest_probability_difference": float(largest),
        "allowed_difference": MAX_DIFFERENCE,
    }
