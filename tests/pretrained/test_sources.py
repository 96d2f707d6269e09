"""Sources on the Hugging Face hub."""

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
