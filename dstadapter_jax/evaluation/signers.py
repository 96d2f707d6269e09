"""Accuracy by signer, and signers that several splits share."""

import dataclasses

import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.evaluation.bootstrap import Interval, share_interval
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.scores import TOP1


@dataclasses.dataclass(frozen=True)
class SignerAccuracy:
    """Accuracy on one signer's clips.

    Attributes:
        num_clips: The signer's clips, missing ones included.
        num_correct: Those whose most probable label is the true one.
    """

    num_clips: int
    num_correct: int

    @property
    def top1(self) -> float:
        """Top-1 accuracy."""
        return self.num_correct / self.num_clips

    @property
    def interval(self) -> Interval:
        """Interval of `top1` over the signer's clips."""
        return share_interval(self.num_correct, self.num_clips)


def signer_accuracies(results: EvaluationResult) -> dict[str, SignerAccuracy]:
    """Accuracy by signer, lowest first; clips of unknown signers come last, under ''."""
    names, numbers = np.unique(results.signers, return_inverse=True)
    clips = np.bincount(numbers)
    correct = np.bincount(numbers, weights=results.outcomes == TOP1).astype(int)
    columns = names.tolist(), clips.tolist(), correct.tolist()
    every = {name: SignerAccuracy(*counts) for name, *counts in zip(*columns, strict=True)}
    if num_unlisted := results.missing.num_unlisted:
        unknown = every.get("", SignerAccuracy(0, 0))
        every[""] = SignerAccuracy(unknown.num_clips + num_unlisted, unknown.num_correct)
    return dict(sorted(every.items(), key=lambda item: (item[0] == "", item[1].top1)))


def shared_signers(dataset: ClipDataset, split: str) -> dict[str, list[str]]:
    """Signers of the split that other splits hold, too: by the other split, sorted."""
    own = set(dataset.signers.get(split, []))
    others = (other for other in SPLITS if other != split)
    shared = {other: sorted(own & set(dataset.signers.get(other, []))) for other in others}
    return {other: signers for other, signers in shared.items() if signers}
