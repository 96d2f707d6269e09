"""Measures how fast the program is, and prints one JSON object.

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
from dstadapter_jax.benchmark.program import MODELS, Setting, time_compilation, time_programs
from dstadapter_jax.cli.main import run_cli
from dstadapter_jax.models.config import COMPUTE_DTYPES, REMAT_POLICIES
from dstadapter_jax.models.partition import TUNES

TIMED = ("eval", "train")  # modes that time a program, step by step


def _count(text: str) -> int:
    """A number from 1; for `argparse`."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return count


def _mesh(text: str) -> tuple[int, int]:
    """Devices along `data` and `fsdp`; for `argparse`."""
    data, _, fsdp = text.partition("x")
    if not (data.isdecimal() and fsdp.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected DATAxFSDP, such as 4x2, got {text!r}")
    return int(data), int(fsdp)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dstadapter_jax.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mode", choices=(*TIMED, "compile", "input"), required=True)
    parser.add_argument("--repeats", type=_count, default=5, help="of each measurement")
    parser.add_argument("--model", choices=MODELS, default=Setting.model)
    parser.add_argument("--batch", type=_count, default=1, help="clips a step, on all devices")
    parser.add_argument("--tune", choices=TUNES, default=Setting.tune)
    parser.add_argument("--remat", choices=REMAT_POLICIES, default=Setting.remat)
    parser.add_argument("--dtype", choices=COMPUTE_DTYPES, help="float32 on CPUs, else bfloat16")
    parser.add_argument(
        "--mesh",
        type=_mesh,
        default=Setting.mesh,
        metavar="DATAxFSDP",
        help="devices along each axis, such as 4x2; all along data unless told",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two settings in turn, each FIELD=VALUE[,FIELD=VALUE…] on top of the others",
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of clips; for `input`"
    )
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exits with 2 if an option was given that the mode makes nothing of."""
    settings = [field.name for field in dataclasses.fields(Setting) if field.name != "mode"]
    without = {"input": ["compare", *settings], "compile": ["compare", "kinds", "repeats"]}
    idle = [
        f"--{name}"
        for name in without.get(args.mode, ["kinds"])
        if getattr(args, name) != parser.get_default(name)
    ]
    if idle:
        parser.error(f"{', '.join(idle)}: without effect in --mode {args.mode}")


def _changed(setting: Setting, text: str, parser: argparse.ArgumentParser) -> Setting:
    """A setting with the fields of `tune=full,remat=none` in place of its own."""
    names = [field.name for field in dataclasses.fields(Setting)]
    arguments = []
    for change in text.split(","):
        name, equals, value = change.partition("=")
        if not equals or name not in names:
            parser.error(f"--compare: expected FIELD=VALUE with one of {names}, got {change!r}")
        arguments += [f"--{name}", value]
    given = {name: getattr(setting, name) for name in names}
    changed = _parser().parse_args(["--mode", setting.mode, *arguments])
    if changed.mode not in TIMED:
        parser.error(f"--compare: expected mode={' or mode='.join(TIMED)}, got {text!r}")
    asked = {arguments[i][2:] for i in range(0, len(arguments), 2)}
    return Setting(**given | {name: getattr(changed, name) for name in asked})


def _ratios(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """The first's figures divided by the second's."""
    return {
        "seconds": first["seconds"]["median"] / second["seconds"]["median"],
        "needed_flops": first["needed_flops_per_clip"] / second["needed_flops_per_clip"],
        "temporary_bytes": first["memory_bytes"]["temporary"] / second["memory_bytes"]["temporary"],
    }


def main(argv: list[str]) -> int:
    """The command; see the module's docstring."""
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
        pair = time_programs([_changed(setting, t, parser) for t in args.compare], args.repeats)
        result = {"a": pair[0], "b": pair[1], "a_to_b": _ratios(*pair)}
    else:
        result = time_programs([setting], args.repeats)[0]
    print(json.dumps({**machine, "repeats": args.repeats, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
