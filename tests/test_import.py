"""Importing the package has no side effects and is light."""

import json

from tests.helpers.processes import run_python

STATE = """
import json, signal, sys
def handlers():
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    return {number: repr(signal.getsignal(number)) for number in numbers}
before = handlers()
import dstadapter_jax
after_import = sorted({"jax", "flax", "tensorflow_datasets"} & set(sys.modules))
from dstadapter_jax import DSTAdapter, ModelConfig, dump_weights, load_weights
print(json.dumps({
    "handlers_changed": handlers() != before,
    "heavy_after_import": after_import,
    "tfds_after_use": "tensorflow_datasets" in sys.modules,
    "public": sorted(dstadapter_jax.__all__),
}))
"""


def test_import_of_the_package_changes_no_signal_handler_and_is_light():
    result = run_python("-c", STATE)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "handlers_changed": False,
        "heavy_after_import": [],
        "tfds_after_use": False,
        "public": ["DSTAdapter", "ModelConfig", "dump_weights", "load_weights"],
    }
