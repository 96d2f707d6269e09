"""What keeps results from meaning what they seem to: the sentences at the top of a page."""

from collections.abc import Iterator

from dstadapter_jax.data.views import REFERENCE_VIEWS
from dstadapter_jax.evaluation.report.evaluation import Evaluation
from dstadapter_jax.html.markup import ERROR, NOTE, WARNING, Finding


def caveats(evaluation: Evaluation) -> list[Finding]:
    """All that a reader of the figures must know."""
    return [*_of_people(evaluation), *_of_clips(evaluation)]


def _of_people(evaluation: Evaluation) -> Iterator[Finding]:
    split, signers = evaluation.split, evaluation.dataset.signers
    own, shared = len(signers.get(split, [])), evaluation.summary["shared_signers"]
    if split == "train":
        yield Finding(ERROR, "These are the clips that the run was trained on.", "signers")
        return
    if not own or not signers.get("train"):
        text = "Signers are unknown: the same people may have been trained on."
        yield Finding(WARNING, text, "clips")
    if known := shared.get("train"):
        text = f"Of {own} signers {len(known)} were trained on, too: the figures don't tell how"
        yield Finding(ERROR, f"{text} well new people are recognized.", "signers")
    if split == "test" and (known := shared.get("validation")):
        text = f"Of {own} signers {len(known)} are in the validation split, too, by which the best"
        yield Finding(WARNING, f"{text} step was chosen.", "signers")
    if split == "validation":
        text = "The best step is chosen by this split, so that its figures flatter the run."
        yield Finding(WARNING, text, "run")


def _of_clips(evaluation: Evaluation) -> Iterator[Finding]:
    summary, results = evaluation.summary, evaluation.results
    if left_out := summary["num_missing"]:
        text = f"{left_out:,} of {summary['num_clips']:,} clips are missing, damaged or on no list:"
        yield Finding(WARNING, f"{text} they count as wrong.", "clips")
    if never := summary["num_unavailable"]:
        text = f"{never:,} listed clip(s) were never published: they don't count."
        yield Finding(NOTE, text, "clips")
    classes = len(results.label_names)
    if absent := classes - len(set(results.labels.tolist())):
        text = f"{absent:,} of {classes:,} signs have no clip here: each counts 0 in the mean class"
        yield Finding(NOTE, f"{text} accuracy.", "signs")
    if evaluation.views != REFERENCE_VIEWS:
        text = f"The mean is over {evaluation.views} of a video, the reference's is over"
        yield Finding(NOTE, f"{text} {REFERENCE_VIEWS}.", "run")
