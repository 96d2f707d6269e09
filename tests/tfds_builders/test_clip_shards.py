"""Threads that encode clips."""

import contextlib
import itertools
import os
import threading

import pytest

from tfds_builders import clip_shards


def test_map_in_threads_runs_a_bounded_number_of_items_ahead():
    begun = []

    def negate(n):
        begun.append(n)
        return -n

    mapped = clip_shards.map_in_threads(negate, range(10_000))
    assert list(itertools.islice(mapped, 5)) == [0, -1, -2, -3, -4]
    del mapped  # closes it: no thread is left
    assert len(begun) <= 5 + (os.cpu_count() or 1) + 2


def test_map_in_threads_interrupted_does_not_wait_for_long_clips(monkeypatch):
    monkeypatch.setattr(clip_shards.os, "cpu_count", lambda: 2)
    started, released, finished = threading.Event(), threading.Event(), threading.Event()

    def decode(item):
        if item == "interrupted":
            started.wait(30)
            raise KeyboardInterrupt
        started.set()
        released.wait(30)
        finished.set()

    with contextlib.closing(clip_shards.map_in_threads(decode, ["interrupted", "long"])) as mapped:
        with pytest.raises(KeyboardInterrupt):
            next(mapped)
        assert not finished.is_set()
        released.set()
    assert finished.wait(30)
