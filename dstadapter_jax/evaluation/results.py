"""Results on a split: the scores of its clips, and the clips that the dataset lacks."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from typing import Self

import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.errors import UserError
from dstadapter_jax.evaluation.scores import MISS, Scores
from dstadapter_jax.files.atomic import atomic_write

CLIP_FIELDS = {"ids": "U", "labels": "iu", "signers": "U"}  # field to its `dtype.kind`s


@dataclasses.dataclass(frozen=True)
class MissingClips:
    """Clips that a split lists and the dataset lacks: their files are missing or damaged.

    Clips that were never published are not counted here.

    Attributes:
        ids: `(clips,)` names.
        labels: `(clips,)` true ids.
        signers: `(clips,)` names, '' where unknown.
        num_unlisted: Further official clips of the split that its lists do not name. Their labels
            are unknown: they are wrong for top-1 and top-5, and in no class.
    """

    ids: np.ndarray
    labels: np.ndarray
    signers: np.ndarray
    num_unlisted: int = 0

    @classmethod
    def from_dataset(cls, dataset: ClipDataset, split: str) -> Self:
        """Reads the missing clips of a split from the dataset's metadata.

        Raises:
            UserError: The metadata lack labels of missing clips.
        """
        reasons, labels, signers = (
            dataset.metadata.get(name, {}).get(split, {})
            for name in ("missing", "missing_clip_labels", "missing_clip_signers")
        )
        if reasons.keys() != labels.keys():
            raise UserError(
                f"{dataset.builder.data_dir}/metadata.json: missing_clip_labels: {split}",
                expected=f"the {len(reasons)} clips of `missing`",
                found=f"{len(labels)} clips",
                advice="Build the dataset again.",
            )
        return cls(
            ids=np.array(list(labels), np.str_),
            labels=np.array([dataset.label_names.index(name) for name in labels.values()], int),
            signers=np.array([signers.get(clip, "") for clip in labels], np.str_),
            num_unlisted=dataset.metadata.get("num_unlisted", {}).get(split, 0),
        )


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """All clips of a split that count: the scored ones, then the missing ones, which are wrong.

    Attributes:
        scores: Scored clips.
        missing: Missing clips.
        label_names: Signs by label id.
    """

    scores: Scores
    missing: MissingClips
    label_names: tuple[str, ...]

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Names of the clips, `(clips,)`."""
        return np.concatenate([self.scores.ids, self.missing.ids])

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """True ids, `(clips,)`."""
        return np.concatenate([self.scores.labels, self.missing.labels])

    @functools.cached_property
    def signers(self) -> np.ndarray:
        """Names of the signers, '' where unknown, `(clips,)`."""
        return np.concatenate([self.scores.signers, self.missing.signers])

    @functools.cached_property
    def outcomes(self) -> np.ndarray:
        """Rank classes of the true labels, `(clips,)`, as `Scores.outcomes`."""
        wrong = np.full(len(self.missing.ids), MISS)
        return np.concatenate([self.scores.outcomes, wrong])

    @property
    def num_clips(self) -> int:
        """Number of clips that count, unlisted ones included."""
        return len(self.labels) + self.missing.num_unlisted

    def metrics(self) -> dict[str, float]:
        """Metrics of all clips that count, as `Scores.metrics`."""
        return self.scores.metrics(self.missing.labels, self.missing.num_unlisted)

    def save(self, path: pathlib.Path) -> None:
        """Writes an npz file: the fields of `Scores` and of `MissingClips`, and `label_names`."""
        missing = dataclasses.asdict(self.missing).items()
        archive = io.BytesIO()
        np.savez(
            archive,
            **dataclasses.asdict(self.scores),
            **{f"missing_{name}": values for name, values in missing},
            label_names=np.array(self.label_names, np.str_),
        )
        atomic_write(path, archive.getvalue())

    @classmethod
    def load(cls, path: pathlib.Path) -> Self:
        """Reads a file that `save` wrote.

        Raises:
            UserError: The file is missing, or is not such a file.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            _check(arrays)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                str(path),
                expected="scores of clips",
                found=f"{type(error).__name__}: {error}",
                advice="`python -m dstadapter_jax.evaluate --workdir RUN --split SPLIT` writes it.",
            ) from error
        scores = Scores(*(arrays[field.name] for field in dataclasses.fields(Scores)))
        ids, labels, signers = (arrays[f"missing_{name}"] for name in CLIP_FIELDS)
        missing = MissingClips(ids, labels, signers, int(arrays["missing_num_unlisted"]))
        return cls(scores, missing, tuple(arrays["label_names"].tolist()))


def _check(arrays: dict[str, np.ndarray]) -> None:
    clips, classes = arrays["probabilities"].shape
    for name, kinds in CLIP_FIELDS.items():
        scored, missing = arrays[name], arrays[f"missing_{name}"]
        if scored.shape != (clips,) or missing.shape != arrays["missing_ids"].shape:
            raise ValueError(f"{name}: expected {clips} clips, found shape {scored.shape}")
        if scored.dtype.kind not in kinds or missing.dtype.kind not in kinds:
            raise ValueError(f"{name}: expected another type than {scored.dtype}")
    if arrays["label_names"].shape != (classes,):
        raise ValueError(f"label_names: {arrays['label_names'].shape} for {classes} classes")
    if not np.isin([*arrays["labels"], *arrays["missing_labels"]], range(classes)).all():
        raise ValueError("labels: some have no name")
    if int(arrays["missing_num_unlisted"]) < 0:
        raise ValueError("missing_num_unlisted is negative")
