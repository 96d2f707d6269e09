"""What a page on a run's results on a split is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dstadapter_jax.data.clip_dataset import ClipDataset
from dstadapter_jax.data.views import Views
from dstadapter_jax.evaluation.results import EvaluationResult
from dstadapter_jax.inference.recognizer import Recognizer


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What there is to report on.

    Attributes:
        recognizer: That was evaluated.
        dataset: On which.
        split: Of it.
        views: Of each clip.
        results: Of all clips that count.
        summary: What `eval_SPLIT.json` holds.
    """

    recognizer: Recognizer
    dataset: ClipDataset
    split: str
    views: Views
    results: EvaluationResult
    summary: Mapping[str, Any]
