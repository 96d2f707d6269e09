"""Goes through a stream and shows its windows to the network."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from dstadapter_jax.data.preprocess import normalize
from dstadapter_jax.inference.recognizer import NonFiniteOutputError
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.spotting.classifier import Outputs
from dstadapter_jax.spotting.sources import Frame
from dstadapter_jax.spotting.windows import SlidingWindows, Window

FeatureFn = Callable[[np.ndarray], Outputs]


def make_feature_fn(model: DSTAdapter) -> FeatureFn:
    """The compiled `(N, T, R, R, 3) uint8 -> Outputs`, compiled once for each N.

    It raises `NonFiniteOutputError` where what the model says isn't finite.
    """
    graphdef, weights = nnx.split(model)

    def network(views: np.ndarray) -> Outputs:
        outputs = Outputs(*jax.device_get(_outputs(graphdef, weights, views)))
        if not all(np.isfinite(values).all() for values in outputs):
            raise NonFiniteOutputError
        return outputs

    return network


@functools.partial(jax.jit, static_argnums=0)
def _outputs(
    graphdef: nnx.GraphDef, weights: nnx.State, views: jax.Array
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, weights)
    features = model.features(normalize(views))
    return jax.nn.log_softmax(model.head(features)), features


class TickOutputs(NamedTuple):
    """What the network says of the windows that end at one moment.

    Attributes:
        starts: Seconds, when each begins.
        now: Seconds, when they end.
        outputs: Of each.
    """

    starts: list[float]
    now: float
    outputs: Outputs


def infer_windows(
    batches: Iterable[list[Frame]], sliding: SlidingWindows, network: FeatureFn, at_once: int = 1
) -> Iterator[TickOutputs]:
    """Yields what is seen at every tick of a stream.

    Args:
        batches: Of a source; of each the last frame is the newest.
        sliding: Windows, as yet empty.
        network: Of `make_feature_fn`.
        at_once: Ticks that are computed together, which is quicker and later.
    """
    waiting: list[list[Window]] = []
    for frames in batches:
        for seconds, frame in frames:
            sliding.push(seconds, frame)
        if windows := sliding.due():
            waiting.append(windows)
        if len(waiting) == at_once:
            yield from _computed(waiting, network, at_once * sliding.num_lengths)
            waiting = []
    yield from _computed(waiting, network, at_once * sliding.num_lengths)


def _computed(
    waiting: Sequence[list[Window]], network: FeatureFn, rows: int
) -> Iterator[TickOutputs]:
    """Always as many rows, since each number of them would be a program of its own."""
    views = [window.view for windows in waiting for window in windows]
    if not views:
        return
    outputs = network(np.stack(views + [np.zeros_like(views[0])] * (rows - len(views))))
    first = 0
    for windows in waiting:
        part = slice(first, first := first + len(windows))
        starts = [window.start for window in windows]
        yield TickOutputs(starts, windows[0].end, Outputs(*(values[part] for values in outputs)))
