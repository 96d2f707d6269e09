"""Tests of the errors that users can fix."""

import pickle

import pytest

from dstadapter_jax.checkpoints.integrity import CorruptCheckpointError
from dstadapter_jax.errors import ConfigError, UserError
from dstadapter_jax.pretrained.sources import WeightsError


def test_user_error_with_mismatch_builds_message_from_fields():
    error = UserError("--step", expected="one of 1, 2", found=7, advice="Choose another.")
    assert (error.where, error.expected, error.found) == ("--step", "one of 1, 2", "7")
    assert (error.problem, error.advice) == ("", "Choose another.")
    assert str(error) == "--step: expected one of 1, 2, found 7. Choose another."


def test_user_error_with_problem_builds_message_from_fields():
    assert str(UserError("a.mp4", problem="can't be read.")) == "a.mp4: can't be read."
    both = UserError("a.mp4", problem="cut", expected="9 frames", found="8")
    assert str(both) == "a.mp4: cut; expected 9 frames, found 8."


@pytest.mark.parametrize("kind", [UserError, ConfigError, WeightsError, CorruptCheckpointError])
def test_user_error_pickled_keeps_type_fields_and_message(kind):
    error = kind("place", expected="one", found="two", problem="mixed", advice="Fix it.")
    error.add_note("seen while testing")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert isinstance(copy, ValueError)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
