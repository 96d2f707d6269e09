"""LSA64, built from a few real clips."""

from collections import defaultdict

import pytest

from tests.helpers.builds import build_by_id
from tests.helpers.dataset_trees import (
    put,
)
from tests.helpers.stored_clips import check_clip
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64

STORAGES = ["", "-original"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("base", ["", "-upstream"])
@pytest.mark.parametrize("variant", lsa64.METHODS)
def test_build_stores_the_listed_clips(tmp_path, clip_files, variant, base, storage):
    by_split = defaultdict(list)
    for name, split in lsa64.listed(variant).items():
        by_split[split].append(name)
    names = [by_split[split][-1] for split in SPLITS]  # of the last sign
    source, out = tmp_path / "lsa64", tmp_path / "out"
    put(source, [f"all_cut/{name}.mp4" for name in names], clip_files["l"])
    config = f"lsa64/{variant}{base}{storage}"
    info, examples = build_by_id(config, source, out, "--max_missing", "0.9999")
    assert [list(examples[split]) for split in SPLITS] == [[name] for name in names]
    example = examples["test"][names[2]]
    check_clip(example, 3, 1080, 1920, 60_000 / 1_001)
    assert example["signer"].decode() == names[2].split("_")[1]
    assert example["label"] == int(names[2][:3]) - (not base)
    assert info.features["label"].names[example["label"]] == "Encontrar (Find)"
    assert info.features["label"].num_classes == (65 if base else 64)
