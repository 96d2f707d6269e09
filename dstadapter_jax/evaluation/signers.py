"""What results say of the people who sign: each one's accuracy, and who is known from training."""

import dataclasses

import numpy as np

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.evaluation.bootstrap import Interval, share_interval
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.evaluation.scores import TOP1


@dataclasses.dataclass(frozen=True)
class SignerAccuracy:
    """How one person's clips are recognized.

    Attributes:
        num_clips: Theirs, left-out ones included.
        num_right: Of these, whose most probable label is the true one.
    """

    num_clips: int
    num_right: int

    @property
    def top1(self) -> float:
        """The share of right ones."""
        return self.num_right / self.num_clips

    @property
    def interval(self) -> Interval:
        """Of `top1`, over the signer's clips."""
        return share_interval(self.num_right, self.num_clips)


def signer_accuracies(results: EvaluationResult) -> dict[str, SignerAccuracy]:
    """Each signer's, the worst first; last, under '', that of unknown signers' clips."""
    names, numbers = np.unique(results.signers, return_inverse=True)
    clips = np.bincount(numbers)
    right = np.bincount(numbers, weights=results.outcomes == TOP1).astype(int)
    every = {
        str(name): SignerAccuracy(int(of), int(ok))
        for name, of, ok in zip(names, clips, right, strict=True)
    }
    if num_unlisted := results.missing.num_unlisted:
        unknown = every.get("", SignerAccuracy(0, 0))
        every[""] = SignerAccuracy(unknown.num_clips + num_unlisted, unknown.num_right)
    return dict(sorted(every.items(), key=lambda item: (item[0] == "", item[1].top1)))


def shared_signers(dataset: ClipDataset, split: str) -> dict[str, list[str]]:
    """The split's signers that are in other splits, too, by these; sorted."""
    own = set(dataset.signers.get(split, []))
    shared = {
        other: sorted(own & set(dataset.signers.get(other, [])))
        for other in SPLITS
        if other != split
    }
    return {other: signers for other, signers in shared.items() if signers}
