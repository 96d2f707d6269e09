"""Sources on the Hugging Face hub."""

import json

from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from dstadapter_jax.pretrained.sources import WeightsError, resolve_source
from tests.helpers.errors import raises
from tests.helpers.weights import assert_same, blank_model, written


def test_resolve_source_finds_the_pinned_commit_in_the_cache(tmp_path, monkeypatch, golden_weights):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--owner--repo" / "snapshots" / commit
    (snapshot / "sub").mkdir(parents=True)
    path = written(snapshot / "sub" / "w.safetensors", golden_weights)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert resolve_source("hf:owner/repo/sub/w.safetensors", commit) == path
    model = blank_model()
    load_weights(model, "hf:owner/repo/sub/w.safetensors", revision=commit)
    assert_same(dump_weights(model), golden_weights)
    written(snapshot / "model.safetensors", golden_weights)
    assert resolve_source("hf:owner/repo", commit) == snapshot / "model.safetensors"
    with raises(WeightsError, where="hf:owner/repo/w.npz at revision main"):
        resolve_source("hf:owner/repo/w.npz")
    for malformed in ("hf:", "hf:repo", "hf:owner/", "hf:owner/repo/"):
        with raises(WeightsError, expected="hf:OWNER/REPO", found=malformed):
            resolve_source(malformed)


def test_resolve_source_fetches_all_files_of_an_index(tmp_path, monkeypatch):
    fetched = []

    def fetch(repo, name, revision):
        fetched.append((repo, name, revision))
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    index = tmp_path / "model.safetensors.index.json"
    files = ["model-1.safetensors", "model-2.safetensors"]
    index.write_text(json.dumps({"weight_map": {"a": files[0], "b": files[1], "c": files[0]}}))
    assert resolve_source(f"hf:owner/repo/{index.name}", "main") == index
    assert fetched == [("owner/repo", name, "main") for name in (index.name, *files)]
