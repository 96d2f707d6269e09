"""Communication volume of a compiled program, from its HLO text."""

import math
import re
from collections import defaultdict

import numpy as np

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (\(.*?\)|\S+) ([\w-]+)\(")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of each kind of collective on one device; loop bodies count per trip.

    Raises:
        ValueError: A loop with a collective has no known trip count.
    """
    own: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    called: dict[str, list[tuple[str, int | None]]] = defaultdict(list)
    entry = computation = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[2]
            entry = computation if header[1] else entry
        elif instruction := _INSTRUCTION.match(line):
            result, operation = instruction.groups()
            kind = operation.removesuffix("-start")  # the -done instruction has the same result
            if kind in COLLECTIVES:
                own[computation][kind] += _bytes(result)
            trips = _TRIPS.search(line)
            times = int(trips[1]) if trips else None if operation == "while" else 1
            called[computation] += [(name, times) for name in _CALLED.findall(line)]
    return _total(entry, own, called)


def _total(
    computation: str,
    own: dict[str, dict[str, int]],
    called: dict[str, list[tuple[str, int | None]]],
) -> dict[str, int]:
    total = dict(own.get(computation, {}))
    for name, times in called.get(computation, []):
        inner = _total(name, own, called)
        if inner and times is None:
            raise ValueError(f"the loop over {name} has no known trip count")
        for kind, count in inner.items():
            total[kind] = total.get(kind, 0) + count * (times or 0)
    return total


def _bytes(result: str) -> int:
    """Bytes of a type such as `f32[8,768]{1,0}` or of a tuple of types."""
    return sum(
        _item_bytes(dtype) * math.prod(int(n) for n in shape.split(",") if n)
        for dtype, shape in _ARRAY.findall(result)
    )


def _item_bytes(dtype: str) -> int:
    bits = re.sub(r"^[a-z]+", "", dtype)
    return max(int(bits or 8) // 8, np.dtype(bool).itemsize)
