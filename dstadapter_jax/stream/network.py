"""A recogniser's network as streams use it: windows in, probabilities and features out."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from dstadapter_jax.model import DSTAdapter
from dstadapter_jax.preprocess import normalize
from dstadapter_jax.recogniser import DivergedError
from dstadapter_jax.stream.scoring import Outputs

Network = Callable[[np.ndarray], Outputs]


def make_network(model: DSTAdapter) -> Network:
    """The compiled `(N, T, R, R, 3) uint8 -> Outputs`, compiled once for each N.

    It raises `DivergedError` where what the model says isn't finite.
    """
    graphdef, weights = nnx.split(model)

    def network(views: np.ndarray) -> Outputs:
        outputs = Outputs(*jax.device_get(_outputs(graphdef, weights, views)))
        if not all(np.isfinite(values).all() for values in outputs):
            raise DivergedError
        return outputs

    return network


@functools.partial(jax.jit, static_argnums=0)
def _outputs(
    graphdef: nnx.GraphDef, weights: nnx.State, views: jax.Array
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, weights)
    features = model.features(normalize(views))
    return jax.nn.log_softmax(model.head(features)), features
