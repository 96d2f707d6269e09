"""Upload of adapter files to the Hugging Face Hub."""

import pytest

from dstadapter_jax import predict
from dstadapter_jax.adapters.file import AdapterError
from dstadapter_jax.export.__main__ import main as export
from dstadapter_jax.pretrained.sources import WeightsError
from tests.helpers.adapters import printed_lines
from tests.helpers.errors import raises
from tests.helpers.hub_server import COMMIT, TOKEN, serving


# The hub's client uses a deprecated argument of its HTTP library.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_push_then_predict_from_the_hub_equals_the_local_file(
    signs, pretrained_config, recordings, tmp_path, monkeypatch, capsys
):
    video, backbone = str(recordings / "s0_l0_t0.mp4"), ["--backbone", pretrained_config.pretrained]
    assert predict.main(["--adapter", str(signs), *backbone, video]) == 0
    expected = printed_lines(capsys)
    with serving() as hub:
        place = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": place,
            "HF_HUB_CACHE": str(tmp_path),
            # Xet, the hub's newer protocol for large files, needs a server of its own.
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        push = ["push", str(signs), "OWNER/REPO", "--private"]
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        with raises(where="OWNER/REPO", problem="401", advice="hf auth login"):
            export(push)
        assert not hub.files

        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert export(push) == 0
        (result,) = printed_lines(capsys)
        assert result["commit"] == COMMIT
        assert hub.created[-1]["visibility"] == "private"
        card = signs.with_suffix(".md").read_bytes()
        assert hub.files == {"signs.safetensors": signs.read_bytes(), "README.md": card}
        assert predict.main(["--adapter", result["adapter"], *backbone, video]) == 0
        assert printed_lines(capsys) == expected
        with raises(WeightsError, where="hf:OWNER/REPO/none.safetensors"):
            predict.main(["--adapter", "hf:OWNER/REPO/none.safetensors", video])


def test_push_of_incomplete_files_raises(signs, tmp_path):
    path = tmp_path / "signs.safetensors"
    path.write_bytes(signs.read_bytes()[:-1])
    with raises(AdapterError, where=str(path)):
        export(["push", str(path), "OWNER/REPO"])
    path.write_bytes(signs.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"signs\.md"):
        export(["push", str(path), "OWNER/REPO"])
