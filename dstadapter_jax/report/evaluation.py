"""What a page on a run's results on a split is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dstadapter_jax.clip_dataset import ClipDataset
from dstadapter_jax.recogniser import Recogniser
from dstadapter_jax.results.split import SplitResults
from dstadapter_jax.views import Views


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What there is to report on.

    Attributes:
        recogniser: That was evaluated.
        dataset: On which.
        split: Of it.
        views: Of each clip.
        results: Of all clips that count.
        summary: What `eval_SPLIT.json` holds.
    """

    recogniser: Recogniser
    dataset: ClipDataset
    split: str
    views: Views
    results: SplitResults
    summary: Mapping[str, Any]
