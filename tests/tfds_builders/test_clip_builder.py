"""Datasets in shards."""

from tests.helpers.builds import build, clip_ids, read_back
from tests.helpers.dataset_trees import put
from tfds_builders import clip_builder


def test_build_shards_hold_the_clips_in_order(source, out, mp4, monkeypatch):
    monkeypatch.setattr(clip_builder, "CLIPS_PER_SHARD", 2)
    put(source, [f"{label}/{i}.mp4" for label in ("hi", "ho") for i in range(5)], mp4)
    assert build("recordings", source, out) == 0
    info, examples = read_back(out, "recordings/frames")
    assert info.splits["train"].shard_lengths == [2, 2, 2]
    assert clip_ids(examples["train"]) == sorted(clip_ids(examples["train"]))
