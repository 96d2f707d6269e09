"""What `calibrate` has found out for a run's streams, kept as `stream.json` beside its results."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Self

from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.files.atomic import atomic_write

FILE = "stream.json"
FORMAT_VERSION = 1
MAX_WINDOWS = 16
MIN_SECONDS, MAX_SECONDS = 0.1, 60.0  # of a window
MAX_NUMBER = 1e9  # scores, sums of such numbers times features, stay finite
COUNTS = {"shown", "found", "false"}


@dataclasses.dataclass(frozen=True)
class SpottingSettings:
    """A run's window lengths, and what makes a window a sign.

    Attributes:
        window_seconds: Lengths of the windows, rising.
        weights: Of `SignClassifier`, one for each feature of the network.
        bias: Of `SignClassifier`.
        figures: By split, what was measured: signs `shown`, `found`, and detections that were
            `false`.
    """

    window_seconds: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    figures: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        fields = dataclasses.asdict(self)
        lists = {name: list(fields[name]) for name in ("window_seconds", "weights")}
        return {"format_version": FORMAT_VERSION, **fields, **lists}

    @classmethod
    def of_json(cls, found: Any, width: int) -> Self:
        """Checks what a file says, for a network of so many features.

        Raises:
            ValueError: A field is missing, unknown, of another type or beyond its bounds.
        """
        fields = {"format_version", *(field.name for field in dataclasses.fields(cls))}
        if not isinstance(found, dict) or found.keys() != fields:
            there = sorted(found) if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"stream: expected the fields {sorted(fields)}, found {there}.")
        lengths, weights, bias = (found[name] for name in ("window_seconds", "weights", "bias"))
        for field, valid, expected in (
            ("format_version", found["format_version"] == FORMAT_VERSION, f"{FORMAT_VERSION}"),
            (
                "window_seconds",
                _are_numbers(lengths)
                and 1 <= len(lengths) <= MAX_WINDOWS
                and lengths == sorted(set(lengths))
                and MIN_SECONDS <= lengths[0] <= lengths[-1] <= MAX_SECONDS,
                f"1 to {MAX_WINDOWS} rising numbers, {MIN_SECONDS:g} to {MAX_SECONDS:g}",
            ),
            ("weights", _are_numbers(weights) and len(weights) == width, f"{width} numbers"),
            ("bias", _are_numbers([bias]), "a number"),
            ("figures", _are_figures(found["figures"]), "numbers by name by split"),
        ):
            if not valid:
                raise ValueError(f"stream.{field}: expected {expected}, found {found[field]!r:.80}")
        return cls(tuple(lengths), tuple(weights), bias, found["figures"])

    def save(self, workdir: pathlib.Path, step: int) -> None:
        """Writes them for a checkpoint of a run."""
        text = json.dumps({"step": step, "settings": self.to_json()})
        atomic_write(workdir / FILE, text + "\n")

    @classmethod
    def load(cls, workdir: pathlib.Path, step: int, width: int) -> Self:
        """Reads those of a checkpoint.

        Raises:
            ValueError: There are none, they are another checkpoint's, or damaged.
        """
        path = workdir / FILE
        advice = f"python -m dstadapter_jax.calibrate --workdir {workdir} --step {step}"
        if not path.is_file():
            raise ValueError(
                f"{path}: not there, and nothing else tells signs from what is between them. Find"
                f" that out with `{advice}`."
            )
        try:
            found = json.loads(path.read_text())
            if not isinstance(found, dict) or found.keys() != {"step", "settings"}:
                raise ValueError("expected the fields settings, step")
            if found["step"] != step:
                raise ValueError(f"it is for step {found['step']}, not for {step}")
            return cls.of_json(found["settings"], width)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}. Write it again: `{advice}`.") from error


def _are_numbers(values: Any) -> bool:
    # Compared, and not converted, which a number of many digits can't be; NaN is in no range.
    return isinstance(values, list) and all(
        type(value) in (int, float) and -MAX_NUMBER < value < MAX_NUMBER for value in values
    )


def _are_figures(found: Any) -> bool:
    return isinstance(found, dict) and all(
        split in SPLITS
        and isinstance(values, dict)
        and values.keys() == COUNTS
        and _are_numbers(list(values.values()))
        for split, values in found.items()
    )
