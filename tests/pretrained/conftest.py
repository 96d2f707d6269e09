"""The golden model's weights."""

import numpy as np
import pytest

from tests.helpers.golden import GOLDEN
from tests.helpers.weights import ADDED


@pytest.fixture(scope="session")
def golden_weights() -> dict[str, np.ndarray]:
    """All weights under the reference's names."""
    return {key[6:]: GOLDEN[key] for key in GOLDEN.files if key.startswith("state/")}


@pytest.fixture(scope="session")
def backbone(golden_weights) -> dict[str, np.ndarray]:
    """The weights of the backbone."""
    return {name: array for name, array in golden_weights.items() if not ADDED.search(name)}
