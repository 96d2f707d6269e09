"""Decoding of records within a time limit."""

import threading

import pytest

from dstadapter_jax.data import records
from dstadapter_jax.data.video.reader import ClipError
from dstadapter_jax.training.loop import train_and_evaluate
from tests.helpers.errors import raises


def test_train_and_evaluate_with_a_clip_that_hangs_names_it(config, tmp_path, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(records, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(records, "read_frames", lambda *_, **__: ended.wait())
    config.data.name = "recordings/original"
    with raises(ClipError, clip=".mp4", reason="longer than 0.2 seconds"):
        train_and_evaluate(config, tmp_path)
    ended.set()


def test_decode_in_time_passes_results_and_errors():
    assert records.decode_in_time("clip", lambda: 3) == 3
    with pytest.raises(TimeoutError, match="of the disk"):
        records.decode_in_time("clip", lambda: (_ for _ in ()).throw(TimeoutError("of the disk")))
