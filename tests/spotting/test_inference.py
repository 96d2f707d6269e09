"""Network outputs for windows."""

import numpy as np
import pytest

from dstadapter_jax.inference.recognizer import NonFiniteOutputError, Recognizer
from dstadapter_jax.spotting.inference import make_feature_fn


def test_feature_fn_with_non_finite_outputs_raises(run_dir):
    model = Recognizer.load(run_dir).model
    model.head.bias[...] = np.nan
    with pytest.raises(NonFiniteOutputError):
        make_feature_fn(model)(np.zeros((1, 4, 32, 32, 3), np.uint8))
