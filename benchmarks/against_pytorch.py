"""Time this project and plain PyTorch in turn, in one process on the CPU; print a JSON object.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.against_pytorch --mode train --batch 1

The PyTorch model is pytorch_yardstick.py; both run in float32. Part of the difference in speed is
that this project computes only the class token in the last block, which changes no logit.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

# Otherwise PyTorch's threads would spin for a fifth of a second while JAX is timed.
os.environ.setdefault("KMP_BLOCKTIME", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["JAX_PLATFORMS"] = "cpu"

import torch

from benchmarks.pytorch_yardstick import FRAMES, NUM_CLASSES, RESOLUTION, SIZES, Network, freeze
from dstadapter_jax.benchmark.program import Program, Setting
from dstadapter_jax.cli.main import run_cli


def make_pytorch_step(setting: Setting) -> Callable[[], float]:
    """Return a function that runs one step in PyTorch and returns its seconds."""
    torch.manual_seed(0)
    network = Network(setting.model)
    freeze(network, setting.tune)
    clips = torch.randn(setting.batch, 3, FRAMES, RESOLUTION, RESOLUTION)
    labels = torch.randint(NUM_CLASSES, (setting.batch,))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)

    def evaluate() -> None:
        with torch.inference_mode():
            network(clips)

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(clips), labels).backward()
        optimizer.step()

    network.train(setting.mode == "train")
    step = train if setting.mode == "train" else evaluate

    def seconds() -> float:
        started = time.perf_counter()
        step()
        return time.perf_counter() - started

    return seconds


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--mode", choices=("eval", "train"), required=True)
    parser.add_argument("--model", choices=SIZES, default="vit_b16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tune", choices=("adapter", "head", "full"), default="adapter")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(argv)
    setting = Setting(model=args.model, mode=args.mode, batch=args.batch, tune=args.tune)
    program, pytorch_step = Program(setting), make_pytorch_step(setting)
    program.run(), pytorch_step()
    times = [(program.run()[0], pytorch_step()) for _ in range(args.repeats)]
    seconds, pytorch_seconds = map(statistics.median, zip(*times, strict=True))
    ratios = [pytorch_seconds / seconds for seconds, pytorch_seconds in times]
    result = vars(args) | {
        "seconds": seconds,
        "pytorch_seconds": pytorch_seconds,
        "speedup": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
