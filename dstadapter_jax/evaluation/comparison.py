"""Comparison of two runs that were evaluated on the same clips."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.scores import TOP1

MAX_NAMED = 5  # clips in a message
SAME_SPLIT = "Evaluate both runs on the same split of the same dataset."


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs, A and B, and their predictions on the same clips.

    Attributes:
        split: Split of the dataset.
        workdirs: Workdirs of A and B.
        summaries: From `eval_SPLIT.json` of A and B: step, views, dataset.
        ids: `(clips,)` names, sorted.
        labels: `(clips,)` true ids.
        signers: `(clips,)` names, '' where unknown.
        outcomes: `(2, clips)`, as `Scores.outcomes`.
        label_names: Signs by label id.
        num_unlisted: As in `MissingClips`.
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
        """Reads the results that `evaluate` wrote for both runs.

        Raises:
            UserError: Results are missing, or not of the same clips.
        """
        workdirs = (run_a, run_b)
        results = [EvaluationResult.load(run / f"scores_{split}.npz") for run in workdirs]
        if problems := list(_differences(workdirs, *results)):
            raise UserError(f"{run_a} and {run_b}", problem="; ".join(problems), advice=SAME_SPLIT)
        orders = [np.argsort(result.ids) for result in results]
        labels = [result.labels[order] for result, order in zip(results, orders, strict=True)]
        first, order = results[0], orders[0]
        if (differing := np.flatnonzero(labels[0] != labels[1])).size:
            a, b = (first.label_names[of_run[differing[0]]] for of_run in labels)
            raise UserError(
                str(run_b),
                expected=f"{first.ids[order][differing[0]]} of sign {a!r}, as in {run_a}",
                found=repr(b),
                advice="Evaluate both runs on the same dataset.",
            )
        outcomes = [r.outcomes[order] for r, order in zip(results, orders, strict=True)]
        return cls(
            split=split,
            workdirs=workdirs,
            summaries=(_read_summary(run_a, split), _read_summary(run_b, split)),
            ids=first.ids[order],
            labels=labels[0],
            signers=first.signers[order],
            outcomes=np.stack(outcomes),
            label_names=first.label_names,
            num_unlisted=first.missing.num_unlisted,
        )

    def sign_counts(self) -> np.ndarray:
        """Clips of each sign that A recognizes, that B recognizes, and all, `(classes, 3)`."""
        classes = len(self.label_names)
        correct = [
            np.bincount(self.labels, weights=outcomes == TOP1, minlength=classes).astype(int)
            for outcomes in self.outcomes
        ]
        return np.stack([*correct, np.bincount(self.labels, minlength=classes)], axis=1)

    def summary(self) -> dict[str, Any]:
        """The comparison as JSON values; differences are B - A."""
        labels, classes, (a, b) = self.labels, len(self.label_names), self.outcomes
        metrics = [
            bootstrap.metrics(labels, outcomes, classes, self.num_unlisted) for outcomes in (a, b)
        ]
        over_clips, over_signers = (
            bootstrap.difference_intervals(labels, a, b, classes, signers, self.num_unlisted)
            for signers in (None, self.signers)
        )
        return {
            "split": self.split,
            "num_clips": len(labels) + self.num_unlisted,
            "run_a": str(self.workdirs[0]),
            "run_b": str(self.workdirs[1]),
            "a": metrics[0],
            "b": metrics[1],
            "difference": {name: metrics[1][name] - metrics[0][name] for name in metrics[0]},
            "intervals": {
                "level": bootstrap.LEVEL,
                "method": f"paired {bootstrap.METHOD}",
                "over_clips": over_clips,
                "over_signers": over_signers,
            },
            "only_a_correct": int(((a == TOP1) & (b != TOP1)).sum()),
            "only_b_correct": int(((b == TOP1) & (a != TOP1)).sum()),
            "better": self.changed_signs(1),
            "worse": self.changed_signs(-1),
        }

    def changed_signs(self, direction: int) -> dict[str, dict[str, int]]:
        """Signs of which B recognizes more clips than A (`direction` 1), or fewer (-1).

        Returns:
            Sign to `correct_a`, `correct_b` and `num_clips`; the largest change comes first.
        """
        counts = self.sign_counts()
        change = direction * (counts[:, 1] - counts[:, 0])
        order = np.argsort(-change, kind="stable")[: (change > 0).sum()]
        keys = ("correct_a", "correct_b", "num_clips")
        return {
            self.label_names[label]: dict(zip(keys, counts[label].tolist(), strict=True))
            for label in order.tolist()
        }


def _read_summary(workdir: pathlib.Path, split: str) -> dict[str, Any]:
    path = workdir / f"eval_{split}.json"
    try:
        summary = json.loads(path.read_text())
        return {name: summary[name] for name in ("step", "views", "dataset")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            str(path),
            expected="a summary with step, views and dataset",
            found=f"{type(error).__name__}: {error}",
            advice=f"`python -m dstadapter_jax.evaluate --workdir RUN --split {split}` writes it.",
        ) from error


def _differences(
    workdirs: Sequence[pathlib.Path], a: EvaluationResult, b: EvaluationResult
) -> Iterator[str]:
    same = True
    for kind, first, second in (
        ("signs", a.label_names, b.label_names),
        ("clips", a.scores.ids, b.scores.ids),
        ("missing clips", a.missing.ids, b.missing.ids),
    ):
        for workdir, own, other in zip(workdirs, (first, second), (second, first), strict=True):
            if extra := sorted(set(own) - set(other)):
                same = False
                names = ", ".join(extra[:MAX_NAMED]) + ", …" * (len(extra) > MAX_NAMED)
                yield f"{len(extra):,} {kind} are only in {workdir}: {names}"
    if same and a.label_names != b.label_names:
        yield "the signs have another order"
    if (num_a := a.missing.num_unlisted) != (num_b := b.missing.num_unlisted):
        yield f"{num_a:,} and {num_b:,} clips are not listed"
