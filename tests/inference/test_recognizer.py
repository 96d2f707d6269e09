"""Loading a recognizer from a workdir."""

from dstadapter_jax.checkpoints.integrity import CheckpointError
from dstadapter_jax.inference.recognizer import Recognizer
from tests.helpers.errors import raises


def test_load_with_missing_step_or_workdir_raises(run_dir, tmp_path):
    with raises(CheckpointError, where="--step", expected="24", found="'7'"):
        Recognizer.load(run_dir, "7")
    with raises(CheckpointError, where=str(tmp_path)):
        Recognizer.load(tmp_path)
