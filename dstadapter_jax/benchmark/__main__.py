"""Measure speed and memory, and print one JSON object.

python -m dstadapter_jax.benchmark --mode eval|train|compile [--model vit_b16] [--batch 1] …
python -m dstadapter_jax.benchmark --mode input [--kinds h264_512 …]
python -m dstadapter_jax.benchmark --mode train --compare tune=adapter tune=full,remat=none
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from typing import Any

import jax

from dstadapter_jax.benchmark.clips import KINDS
from dstadapter_jax.benchmark.input import benchmark_input
from dstadapter_jax.benchmark.program import MODELS, Setting
from dstadapter_jax.benchmark.timing import time_compilation, time_programs
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.models.config import COMPUTE_DTYPES, REMAT_POLICIES
from dstadapter_jax.models.partition import TUNES

TIMED = ("eval", "train")  # modes that time steps of a program


def _count(text: str) -> int:
    """Positive integer, for `argparse`."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {text}")
    return count


def _mesh(text: str) -> tuple[int, int]:
    """Numbers of devices along `data` and `fsdp`, for `argparse`."""
    data, _, fsdp = text.partition("x")
    if not (data.isdecimal() and fsdp.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected DATAxFSDP, such as 4x2, found {text!r}")
    return int(data), int(fsdp)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mode", choices=(*TIMED, "compile", "input"), required=True)
    parser.add_argument("--repeats", type=_count, default=5, help="number of measurements")
    parser.add_argument("--model", choices=MODELS, default=Setting.model)
    parser.add_argument("--batch", type=_count, default=1, help="global batch size in clips")
    parser.add_argument("--tune", choices=TUNES, default=Setting.tune)
    parser.add_argument("--remat", choices=REMAT_POLICIES, default=Setting.remat)
    parser.add_argument(
        "--dtype", choices=COMPUTE_DTYPES, help="default: float32 on CPUs, else bfloat16"
    )
    parser.add_argument(
        "--mesh",
        type=_mesh,
        default=Setting.mesh,
        metavar="DATAxFSDP",
        help="devices along each axis, such as 4x2; default: all along data",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two settings, FIELD=VALUE[,FIELD=VALUE…] each, timed in turn",
    )
    kinds = list(KINDS)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="for --mode input")
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with status 2 if an option was passed that has no effect in the mode."""
    settings = [field.name for field in dataclasses.fields(Setting) if field.name != "mode"]
    without = {"input": ["compare", *settings], "compile": ["compare", "kinds", "repeats"]}
    unused = [
        f"--{name}"
        for name in without.get(args.mode, ["kinds"])
        if getattr(args, name) != parser.get_default(name)
    ]
    if unused:
        parser.error(f"{', '.join(unused)}: without effect in --mode {args.mode}")


def _replaced(setting: Setting, text: str, parser: argparse.ArgumentParser) -> Setting:
    """Setting with fields replaced, as in `tune=full,remat=none`."""
    names = [field.name for field in dataclasses.fields(Setting)]
    arguments = []
    for change in text.split(","):
        name, equals, value = change.partition("=")
        if not equals or name not in names:
            parser.error(f"--compare: expected FIELD=VALUE with one of {names}, found {change!r}")
        arguments += [f"--{name}", value]
    changed = _parser().parse_args(["--mode", setting.mode, *arguments])
    if changed.mode not in TIMED:
        parser.error(f"--compare: expected mode={' or mode='.join(TIMED)}, found {text!r}")
    given = {name.removeprefix("--") for name in arguments[::2]}
    return dataclasses.replace(setting, **{name: getattr(changed, name) for name in given})


def _ratios(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Metrics of the first divided by those of the second."""
    return {
        "seconds": first["seconds"]["median"] / second["seconds"]["median"],
        "needed_flops": first["needed_flops_per_clip"] / second["needed_flops_per_clip"],
        "temporary_bytes": first["memory_bytes"]["temporary"] / second["memory_bytes"]["temporary"],
    }


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(parser, args)
    cpu = jax.default_backend() == "cpu"
    args.dtype = args.dtype or ("float32" if cpu else "bfloat16")
    machine = {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    setting = Setting(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Setting)})
    result: dict[str, Any]
    if args.mode == "input":
        result = {"mode": "input", "clips": benchmark_input(args.kinds, args.repeats)}
    elif args.mode == "compile":
        result = time_compilation(dataclasses.replace(setting, mode="train"))
        result |= {"mode": "compile", "repeats": 1}
    elif args.compare:
        pair = time_programs([_replaced(setting, t, parser) for t in args.compare], args.repeats)
        result = {"a": pair[0], "b": pair[1], "a_to_b": _ratios(*pair)}
    else:
        result = time_programs([setting], args.repeats)[0]
    print(json.dumps({**machine, "repeats": args.repeats, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
