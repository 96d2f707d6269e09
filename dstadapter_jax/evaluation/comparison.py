"""Compares two runs that were evaluated on the same clips."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.scores import TOP1

MOST_NAMED = 5  # clips in a message


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs, A and B, and what each makes of the same clips.

    Attributes:
        split: Of the dataset.
        workdirs: Of A and of B.
        summaries: What their `eval_SPLIT.json` hold.
        ids: `(clips,)` names, sorted.
        labels: `(clips,)` true ids.
        signers: `(clips,)`, '' where unknown.
        outcomes: `(2, clips)`, as `Scores.outcomes`.
        label_names: By label id.
        num_unlisted: As `LeftOut.num_unlisted`.
    """

    split: str
    workdirs: tuple[pathlib.Path, pathlib.Path]
    summaries: tuple[dict[str, Any], dict[str, Any]]
    ids: np.ndarray
    labels: np.ndarray
    signers: np.ndarray
    outcomes: np.ndarray
    label_names: tuple[str, ...]
    num_unlisted: int

    @classmethod
    def load(cls, run_a: pathlib.Path, run_b: pathlib.Path, split: str) -> Self:
        """Reads what `evaluate` has written of both.

        Raises:
            ValueError: It isn't there, or not of the same clips.
        """
        both = [EvaluationResult.load(run / f"scores_{split}.npz") for run in (run_a, run_b)]
        first, second = both
        _check_same((run_a, run_b), both)
        orders = [np.argsort(results.ids) for results in both]
        labels = [r.labels[order] for r, order in zip(both, orders, strict=True)]
        if (labels[0] != labels[1]).any():
            place = int(np.flatnonzero(labels[0] != labels[1])[0])
            clip = first.ids[orders[0]][place]
            names = [first.label_names[of[place]] for of in labels]
            raise ValueError(
                f"{run_a} and {run_b} can't be compared: {clip} is {names[0]!r} there, {names[1]!r}"
                " here. Evaluate both on the same dataset."
            )
        return cls(
            split=split,
            workdirs=(run_a, run_b),
            summaries=(_read_summary(run_a, split), _read_summary(run_b, split)),
            ids=first.ids[orders[0]],
            labels=labels[0],
            signers=first.signers[orders[0]],
            outcomes=np.stack([first.outcomes[orders[0]], second.outcomes[orders[1]]]),
            label_names=first.label_names,
            num_unlisted=first.missing.num_unlisted,
        )

    def right_of_signs(self) -> np.ndarray:
        """Clips of each sign that A recognizes, and B, and all of them, `(classes, 3)`."""
        classes = len(self.label_names)
        right = [
            np.bincount(self.labels, weights=of_run == TOP1, minlength=classes).astype(int)
            for of_run in self.outcomes
        ]
        return np.stack([*right, np.bincount(self.labels, minlength=classes)], axis=1)

    def summary(self) -> dict[str, Any]:
        """What JSON can hold of it; differences are B's figures less A's."""
        labels, classes, (a, b) = self.labels, len(self.label_names), self.outcomes
        figures = [
            bootstrap.metrics(labels, of_run, classes, self.num_unlisted) for of_run in (a, b)
        ]
        intervals = (
            bootstrap.difference_intervals(labels, a, b, classes, signers, self.num_unlisted)
            for signers in (None, self.signers)
        )
        only = [int(((x == TOP1) & (y != TOP1)).sum()) for x, y in ((a, b), (b, a))]
        return {
            "split": self.split,
            "num_clips": len(labels) + self.num_unlisted,
            "run_a": str(self.workdirs[0]),
            "run_b": str(self.workdirs[1]),
            "a": figures[0],
            "b": figures[1],
            "difference": {name: figures[1][name] - figures[0][name] for name in figures[0]},
            "intervals": {
                "level": bootstrap.LEVEL,
                "method": f"paired {bootstrap.METHOD}",
                **dict(zip(("over_clips", "over_signers"), intervals, strict=True)),
            },
            "only_a_right": only[0],
            "only_b_right": only[1],
            "better": self.changed_signs(1),
            "worse": self.changed_signs(-1),
        }

    def changed_signs(self, direction: int) -> dict[str, dict[str, int]]:
        """Signs of which B recognizes more clips than A (`direction` 1), or fewer (-1).

        By name, most changed first: `right_a`, `right_b` and `num_clips`.
        """
        right = self.right_of_signs()
        change = direction * (right[:, 1] - right[:, 0])
        order = np.argsort(-change, kind="stable")[: (change > 0).sum()]
        keys = ("right_a", "right_b", "num_clips")
        return {
            self.label_names[label]: dict(zip(keys, right[label].tolist(), strict=True))
            for label in order.tolist()
        }


def _read_summary(workdir: pathlib.Path, split: str) -> dict[str, Any]:
    path = workdir / f"eval_{split}.json"
    try:
        summary = json.loads(path.read_text())
        return {name: summary[name] for name in ("step", "views", "dataset")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected what `python -m dstadapter_jax.evaluate --workdir RUN --split"
            f" {split}` writes, found {type(error).__name__}: {error}."
        ) from error


def _check_same(workdirs: Sequence[pathlib.Path], both: Sequence[EvaluationResult]) -> None:
    """Raises ValueError, which says what differs, unless labels and clips are the same."""
    a, b = both
    differing = []
    for what, first, second in (
        ("signs", a.label_names, b.label_names),
        ("clips", a.scores.ids, b.scores.ids),
        ("clips that were left out", a.missing.ids, b.missing.ids),
    ):
        for workdir, own, other in zip(workdirs, (first, second), (second, first), strict=True):
            if extra := sorted(set(own) - set(other)):
                named = ", ".join(extra[:MOST_NAMED]) + ", …" * (len(extra) > MOST_NAMED)
                differing.append(f"{len(extra):,} {what} are in {workdir} alone: {named}")
    if not differing and a.label_names != b.label_names:
        differing = ["their signs are in another order"]
    if (there := a.missing.num_unlisted) != (here := b.missing.num_unlisted):
        differing.append(f"of {there:,} and of {here:,} clips more no list has the names")
    if differing:
        raise ValueError(
            f"{workdirs[0]} and {workdirs[1]} can't be compared: {'; '.join(differing)}. Evaluate"
            " both on the same split of the same dataset."
        )
