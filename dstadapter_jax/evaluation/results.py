"""A run's results on a split: the scores of its clips, and the clips that are lacking."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from typing import Self

import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.evaluation.scores import MISS, Scores
from dstadapter_jax.files.atomic import atomic_write

CLIP_FIELDS = {"ids": "U", "labels": "iu", "signers": "U"}  # and NumPy's letters for their types


@dataclasses.dataclass(frozen=True)
class MissingClips:
    """Clips that a split lists and the dataset lacks: missing or damaged files.

    Clips that were never published aren't among them: nobody can have those.

    Attributes:
        ids: `(clips,)`, their names.
        labels: `(clips,)`, their true ids.
        signers: `(clips,)`, '' where unknown.
        num_unlisted: How many more of the split's official clips its lists don't name, and so nor
            their labels: wrong for top-1 and top-5, and in no class.
    """

    ids: np.ndarray
    labels: np.ndarray
    signers: np.ndarray
    num_unlisted: int = 0

    @classmethod
    def of(cls, dataset: ClipDataset, split: str) -> Self:
        """Those of a split.

        Raises:
            ValueError: The dataset doesn't tell the labels of all of them.
        """
        reasons, labels, signers = (
            dataset.metadata.get(name, {}).get(split, {})
            for name in ("missing", "missing_clip_labels", "missing_clip_signers")
        )
        if reasons.keys() != labels.keys():
            raise ValueError(
                f"{dataset.builder.data_dir}/metadata.json: missing_clip_labels of {split}:"
                f" expected the {len(reasons)} clips of `missing`, found {len(labels)}. Build the"
                " dataset again."
            )
        return cls(
            ids=np.array(list(labels), np.str_),
            labels=np.array([dataset.label_names.index(name) for name in labels.values()], int),
            signers=np.array([signers.get(clip, "") for clip in labels], np.str_),
            num_unlisted=dataset.metadata.get("num_unlisted", {}).get(split, 0),
        )


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """All clips of a split that count: those that were scored, then those left out, all wrong.

    Those that no list names have no name here either: of them there is a number alone.

    Attributes:
        scores: Of the former.
        missing: The latter.
        label_names: By label id.
    """

    scores: Scores
    missing: MissingClips
    label_names: tuple[str, ...]

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Names, `(clips,)`."""
        return np.concatenate([self.scores.ids, self.missing.ids])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """True ids, `(clips,)`."""
        return np.concatenate([self.scores.labels, self.missing.labels])

    @functools.cached_property
    def signers(self) -> np.ndarray:
        """Who signs, '' where unknown, `(clips,)`."""
        return np.concatenate([self.scores.signers, self.missing.signers])

    @functools.cached_property
    def outcomes(self) -> np.ndarray:
        """As `Scores.outcomes`, `(clips,)`."""
        wrong = np.full(len(self.missing.ids), MISS)
        return np.concatenate([self.scores.outcomes, wrong])

    @property
    def num_clips(self) -> int:
        """All that count, those that no list names included."""
        return len(self.labels) + self.missing.num_unlisted

    def metrics(self) -> dict[str, float]:
        """As `Scores.metrics`."""
        return self.scores.metrics(self.missing.labels, self.missing.num_unlisted)

    def save(self, path: pathlib.Path) -> None:
        """Writes an npz file: the fields of `Scores` and of `MissingClips`, and `label_names`."""
        left_out = dataclasses.asdict(self.missing).items()
        archive = io.BytesIO()
        np.savez(
            archive,
            **dataclasses.asdict(self.scores),
            **{f"missing_{name}": values for name, values in left_out},
            label_names=np.array(self.label_names, np.str_),
        )
        atomic_write(path, archive.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path) -> Self:
        """Reads what `save` has written.

        Raises:
            ValueError: There is no such file, or it is another.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            _check(arrays)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: expected scores of clips, found {type(error).__name__}: {error}. `python"
                " -m dstadapter_jax.evaluate --workdir RUN --split SPLIT` writes them."
            ) from error
        scores = Scores(*(arrays[field.name] for field in dataclasses.fields(Scores)))
        ids, labels, signers = (arrays[f"missing_{name}"] for name in CLIP_FIELDS)
        left_out = MissingClips(ids, labels, signers, int(arrays["missing_num_unlisted"]))
        return cls(scores, left_out, tuple(arrays["label_names"].tolist()))


def _check(arrays: dict[str, np.ndarray]) -> None:
    clips, classes = arrays["probabilities"].shape
    for name, kinds in CLIP_FIELDS.items():
        scored, left_out = arrays[name], arrays[f"missing_{name}"]
        if scored.shape != (clips,) or left_out.shape != arrays["missing_ids"].shape:
            raise ValueError(f"{name} of another number of clips than {clips}")
        if scored.dtype.kind not in kinds or left_out.dtype.kind not in kinds:
            raise ValueError(f"{name} of type {scored.dtype}")
    if arrays["label_names"].shape != (classes,):
        raise ValueError(f"{arrays['label_names'].shape} label names for {classes} classes")
    if not np.isin([*arrays["labels"], *arrays["missing_labels"]], range(classes)).all():
        raise ValueError("labels without a name")
    if int(arrays["missing_num_unlisted"]) < 0:
        raise ValueError("a number of clips below 0")
