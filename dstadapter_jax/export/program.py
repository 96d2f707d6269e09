"""What exports of a whole program share: the model in float32, the check on clips, the contract."""

import argparse
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from dstadapter_jax.cli.paths import expanded_path
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import example_views
from dstadapter_jax.export.manifest import make_manifest
from dstadapter_jax.files.atomic import atomic_paths
from dstadapter_jax.inference.arguments import add_arguments, load_recognizer, parse
from dstadapter_jax.inference.ranking import read_clip
from dstadapter_jax.inference.recognizer import Recognizer, view_probabilities
from dstadapter_jax.models.dstadapter import DSTAdapter

MAX_BYTES = 2**31 - 2**24  # flatbuffers and protocol buffers end at 2 GiB; the rest is structure
MAX_DIFFERENCE = 1e-5  # of a probability; rounding makes about 1e-7
NUM_CLIPS = 8  # of the validation split

Run = Callable[[np.ndarray], np.ndarray]  # (B, T, R, R, 3) uint8 -> (B, classes) float32


class Format(NamedTuple):
    """A kind of program file.

    Attributes:
        kind: Its name on the command line.
        build: From a model to a file's content, and what a contract has to say of the format.
        load: From a file to what it computes, on the CPU.
        packages: Whose versions a contract tells.
    """

    kind: str
    build: Callable[[DSTAdapter], tuple[bytes | bytearray, dict[str, Any]]]
    load: Callable[[pathlib.Path], Run]
    packages: tuple[str, ...]


def export_program(program: Format, description: str, argv: list[str]) -> int:
    """A subcommand of `python -m dstadapter_jax.export`; `description` is its help.

    The files come into being only once the program, read back from the disk, has given what the
    model gives.
    """
    args = _parse(program.kind, description, argv)
    # Accelerators round float32 products more coarsely than the check allows, and may be busy.
    jax.config.update("jax_platforms", "cpu")
    contract_path = args.output.with_name(args.output.name + ".json")
    with atomic_paths(args.output, contract_path) as (program_file, contract_file):
        _write(args.output, program_file, b"")  # whether it can be written, before any work
        recognizer = load_recognizer(args)
        model = _in_float32(recognizer.model)
        clips = list(_reference_clips(args.videos, args.data_dir, recognizer))
        content, facts = program.build(model)
        _write(args.output, program_file, content)
        check = _check(args.output, model, program.load(program_file), clips)
        sha256 = hashlib.sha256(content).hexdigest()
        facts = {"file": args.output.name, "kind": program.kind, "sha256": sha256} | facts
        contract = make_manifest(model.cfg, recognizer, facts, check, program.packages)
        text = json.dumps(contract, indent=2, ensure_ascii=False) + "\n"
        _write(contract_path, contract_file, text.encode())
    files = {"program": str(args.output), "contract": str(contract_path), "bytes": len(content)}
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
    parser.add_argument("--data_dir", default="", help="where the dataset is, if it has moved")
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="to check the program on")
    return parse(parser, argv)


def _in_float32(model: DSTAdapter) -> DSTAdapter:
    """The model computing in float32, its weights as NumPy arrays.

    Whatever training's products were in: many runtimes lack bfloat16, and CPUs are slow in it.
    """
    cfg = dataclasses.replace(model.cfg, dtype="float32")
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0))))
    weights = jax.tree.map(np.asarray, nnx.state(model))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(weights))
    if size > MAX_BYTES:
        most = f"{MAX_BYTES / 1e9:.1f} GB, the most that such a file can hold"
        raise ValueError(f"expected weights of {most}, found {size / 1e9:.1f} GB.")
    return nnx.merge(graphdef, weights)


def _write(path: pathlib.Path, draft: pathlib.Path, content: bytes | bytearray) -> None:
    """Writes the draft of a file; errors name the file."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
    except OSError as error:
        size = f"its {len(content) / 1e6:.1f} MB " if content else ""
        raise ValueError(f"{path}: {size}can't be written: {error.strerror}.") from error


def _reference_clips(
    videos: list[str], data_dir: str, recognizer: Recognizer
) -> Iterator[np.ndarray]:
    """Views `(V, T, R, R, 3)` of each clip to check on: of these videos, or of validation clips."""
    if videos:
        for video in videos:
            yield read_clip(recognizer, video).views
        return
    data = recognizer.config["data"]
    try:
        source = open_dataset(data["name"], data_dir or data["dir"]).source("validation")
    except ValueError as error:
        raise ValueError(
            f"{error} The export is checked on clips of that dataset's validation split: say where"
            " it is, --data_dir OUT, or name video files to check it on, -o FILE VIDEO …"
        ) from error
    for place in np.unique(np.linspace(0, len(source) - 1, NUM_CLIPS).round().astype(int)):
        yield example_views(source[place], recognizer.preprocess, data["decoder"], "test", None)[0]


def _check(
    path: pathlib.Path, model: DSTAdapter, run: Run, clips: list[np.ndarray]
) -> dict[str, Any]:
    """Runs model and program on clips; raises ValueError if they differ by too much."""
    expected = jax.jit(lambda views: view_probabilities(model, views))
    largest = 0.0
    for views in tqdm(clips, "checking", unit="clip", disable=None, leave=False):
        largest = np.maximum(largest, np.abs(run(views) - np.asarray(expected(views))).max())
    if not largest <= MAX_DIFFERENCE:  # not a number, either
        raise ValueError(
            f"{path}: not written, since it gives other probabilities than the model: by up to"
            f" {largest:.2g} on {len(clips)} clips, where {MAX_DIFFERENCE:g} is allowed."
            " Install the versions that the requirements files name."
        )
    return {
        "num_clips": len(clips),
        "num_views": sum(map(len, clips)),
        "largest_probability_difference": float(largest),
        "allowed_difference": MAX_DIFFERENCE,
    }
