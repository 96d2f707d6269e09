"""Network outputs for the windows of a stream."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from dstadapter_jax.data.normalization import normalize
from dstadapter_jax.inference.recognizer import NonFiniteOutputError
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.spotting.classifier import Outputs
from dstadapter_jax.spotting.sources import Frame
from dstadapter_jax.spotting.windows import SlidingWindows, Window

FeatureFn = Callable[[np.ndarray], Outputs]


def make_feature_fn(model: DSTAdapter) -> FeatureFn:
    """Compile `(N, T, R, R, 3) uint8 -> Outputs`, once for each N.

    The function raises `NonFiniteOutputError` if an output is not finite.
    """
    graphdef, weights = nnx.split(model)

    def feature_fn(views: np.ndarray) -> Outputs:
        outputs = Outputs(*jax.device_get(_outputs(graphdef, weights, views)))
        if not all(np.isfinite(values).all() for values in outputs):
            raise NonFiniteOutputError
        return outputs

    return feature_fn


@functools.partial(jax.jit, static_argnums=0)
def _outputs(
    graphdef: nnx.GraphDef, weights: nnx.State, views: jax.Array
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, weights)
    features = model.features(normalize(views))
    return jax.nn.log_softmax(model.head(features)), features


class HopOutputs(NamedTuple):
    """Network outputs for the windows that end at one time.

    Attributes:
        starts: Start time of each window in seconds.
        now: Common end time in seconds.
        outputs: Outputs, one row per window.
    """

    starts: list[float]
    now: float
    outputs: Outputs


def infer_windows(
    batches: Iterable[list[Frame]],
    sliding: SlidingWindows,
    feature_fn: FeatureFn,
    batch_size: int = 1,
) -> Iterator[HopOutputs]:
    """Yield the network outputs at every hop of a stream.

    Args:
        batches: Frames of a source; the last frame of each list is the newest.
        sliding: Empty sliding windows.
        feature_fn: Function from `make_feature_fn`.
        batch_size: Number of hops per batch; larger is faster but adds latency.
    """
    pending: list[list[Window]] = []
    for frames in batches:
        for seconds, frame in frames:
            sliding.push(seconds, frame)
        if windows := sliding.pop_ready():
            pending.append(windows)
        if len(pending) == batch_size:
            yield from _infer(pending, feature_fn, batch_size * sliding.num_lengths)
            pending = []
    yield from _infer(pending, feature_fn, batch_size * sliding.num_lengths)


def _infer(
    pending: Sequence[list[Window]], feature_fn: FeatureFn, rows: int
) -> Iterator[HopOutputs]:
    """Run the network on a batch padded to `rows`: each batch size is compiled separately."""
    views = [window.view for windows in pending for window in windows]
    if not views:
        return
    outputs = feature_fn(np.stack(views + [np.zeros_like(views[0])] * (rows - len(views))))
    first = 0
    for windows in pending:
        part = slice(first, first := first + len(windows))
        starts = [window.start for window in windows]
        yield HopOutputs(starts, windows[0].end, Outputs(*(values[part] for values in outputs)))
