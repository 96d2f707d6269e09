"""Weights in and out: every naming, every format, and all that may be wrong with a file."""

import functools
import io
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from dstadapter_jax.files.hashing import file_sha256
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.dstadapter import DSTAdapter
from dstadapter_jax.pretrained import formats as weight_files
from dstadapter_jax.pretrained.formats import WeightsError, resolve_source
from dstadapter_jax.pretrained.loading import dump_weights, load_weights
from tests.helpers.errors import raises

SIZES = {"input_resolution": 32, "num_frames": 4, "patch_size": 8, "width": 64, "heads": 4}
ADDED = re.compile(r"_adapter\.|temporal_embedding|cls_head")


def blank_model(**changes):
    """Every weight -7, so that one that isn't loaded shows."""
    graphdef, shapes = traced(ModelConfig(**{"num_classes": 7, "layers": 3} | SIZES | changes))
    filled = jax.tree.map(lambda leaf: jnp.asarray(np.full(leaf.shape, -7, np.float32)), shapes)
    return nnx.merge(graphdef, filled)


@functools.cache
def traced(cfg):
    return nnx.split(nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0))))


@pytest.fixture(scope="module")
def whole():
    """The golden weights under the reference's names."""
    with np.load(Path(__file__).parents[1] / "golden" / "tiny_model.npz") as file:
        return {key[6:]: file[key] for key in file.files if key.startswith("state/")}


@pytest.fixture(scope="module")
def backbone(whole):
    return {name: array for name, array in whole.items() if not ADDED.search(name)}


# The other namings, written as their libraries build them and not as the loader's tables are.


def openai_visual(backbone, prefix):
    tower = {name.replace("backbone.", prefix): array for name, array in backbone.items()}
    return tower | {f"{prefix}proj": np.ones((64, 32), np.float32)}


def openai_clip(backbone):
    text = {"positional_embedding": (77, 32), "text_projection": (32, 32), "logit_scale": ()}
    text |= {"token_embedding.weight": (99, 32), "ln_final.weight": (32,), "ln_final.bias": (32,)}
    for i in range(12):
        text |= {
            f"transformer.resblocks.{i}.attn.in_proj_weight": (96, 32),
            f"transformer.resblocks.{i}.ln_1.bias": (32,),
        }
    return openai_visual(backbone, "visual.") | {
        name: np.ones(shape, np.float32) for name, shape in text.items()
    }


def hugging_face(backbone, prefix):
    tower = {"embeddings.position_ids": np.arange(17)[None]}
    for name, array in backbone.items():
        name = name.removeprefix("backbone.")
        match = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(\w+)\.(.+)", name)
        if match is None:
            tower[hugging_face_top(name)] = array
            continue
        layer, module, leaf = match.groups()
        parts = {leaf: array}
        if leaf.startswith("in_proj"):
            kind = leaf.removeprefix("in_proj_")
            parts = {f"{p}_proj.{kind}": w for p, w in zip("qkv", np.split(array, 3), strict=True)}
        modules = {"attn": "self_attn", "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp": "mlp"}
        for leaf, part in parts.items():
            leaf = leaf.replace("c_fc", "fc1").replace("c_proj", "fc2")
            tower[f"encoder.layers.{layer}.{modules[module]}.{leaf}"] = part
    return {prefix + name: array for name, array in tower.items()}


def hugging_face_top(name):
    kind = name.rpartition(".")[2]
    return {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        f"ln_pre.{kind}": f"pre_layrnorm.{kind}",
        f"ln_post.{kind}": f"post_layernorm.{kind}",
    }[name]


def hugging_face_clip(backbone):
    rest = ["text_model.embeddings.position_ids", "text_model.final_layer_norm.bias"]
    rest += ["text_projection.weight", "visual_projection.weight", "logit_scale"]
    return hugging_face(backbone, "vision_model.") | dict.fromkeys(rest, np.ones(3, np.float32))


def timm(backbone):
    tower = {"head.weight": np.ones((32, 64), np.float32), "head.bias": np.ones(32, np.float32)}
    for name, array in backbone.items():
        name = name.removeprefix("backbone.")
        if name in ("class_embedding", "positional_embedding"):
            short = {"c": "cls_token", "p": "pos_embed"}[name[0]]
            tower[short] = array.reshape(1, -1, array.shape[-1])
            continue
        name = name.replace("conv1", "patch_embed.proj").replace("ln_post", "norm")
        name = name.replace("ln_pre", "norm_pre").replace("transformer.resblocks", "blocks")
        name = name.replace("ln_", "norm").replace("in_proj_", "qkv.").replace("out_proj", "proj")
        tower[name.replace("c_fc", "fc1").replace("c_proj", "fc2")] = array
    return tower


FOREIGN = {
    "reference": (lambda b: b, "reference", 0),
    "OpenAI, visual.": (lambda b: openai_visual(b, "visual."), "OpenAI CLIP", 1),
    "OpenAI, no prefix": (lambda b: openai_visual(b, ""), "OpenAI CLIP", 1),
    "OpenAI, both towers": (openai_clip, "OpenAI CLIP", 31),
    "HF, vision_model.": (lambda b: hugging_face(b, "vision_model."), "Hugging Face CLIP", 1),
    "HF, no prefix": (lambda b: hugging_face(b, ""), "Hugging Face CLIP", 1),
    "HF, both towers": (hugging_face_clip, "Hugging Face CLIP", 6),
    "timm": (timm, "timm", 2),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def test_whole_models_round_trip_bit_for_bit(whole):
    model = blank_model()
    report = load_weights(model, whole)
    assert_same(dump_weights(model), whole)
    assert report.format == "reference"
    assert report.loaded == tuple(whole)
    assert report.initialized == report.ignored == ()
    again = blank_model()
    load_weights(again, {"meta": {}, "state_dict": dump_weights(model)})
    for expected, leaf in zip(jax.tree.leaves(nnx.state(model)), leaves(again), strict=True):
        np.testing.assert_array_equal(leaf, expected)


def leaves(model):
    return jax.tree.leaves(nnx.state(model))


@pytest.mark.parametrize("layers", [2, 4])
def test_round_trip_of_other_depths_and_kernels(layers):
    cfg = {"layers": layers, "spatial_kernel": (1, 3, 3)}
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(size=array.shape).astype(np.float32)
        for name, array in dump_weights(blank_model(**cfg)).items()
    }
    model = blank_model(**cfg)
    load_weights(model, weights)
    assert_same(dump_weights(model), weights)


def test_loaded_weights_are_copies(whole):
    source = {name: array.copy() for name, array in whole.items()}
    model = blank_model()
    load_weights(model, source)
    dumped = dump_weights(model)
    for array in [*source.values(), *dumped.values()]:
        array[...] = 0
    assert_same(dump_weights(model), whole)


@pytest.mark.parametrize("name", FOREIGN)
def test_backbones_in_every_naming(backbone, whole, name):
    convert, title, ignored = FOREIGN[name]
    source, model = convert(backbone), blank_model()
    report = load_weights(model, source)
    dumped = dump_weights(model)
    for reference, array in dumped.items():
        expected = backbone.get(reference, np.full_like(whole[reference], -7))
        np.testing.assert_array_equal(array, expected, err_msg=reference)
    assert (report.format, report.loaded) == (title, tuple(n for n in dumped if n in backbone))
    assert report.initialized == tuple(n for n in dumped if n not in backbone)
    assert len(report.ignored) == ignored
    assert set(report.ignored) < set(source) or not ignored
    assert f"{len(report.initialized)} left as initialized" in str(report)


@pytest.mark.parametrize("name", FOREIGN)
def test_missing_and_unexpected_names_stand_in_one_error(backbone, name):
    source = FOREIGN[name][0](backbone)
    gone = next(n for n in source if re.search(r"\.1\..*(mlp|fc1)", n))
    source = {n: array for n, array in source.items() if n != gone} | {"visual.extra": gone}
    model = blank_model()
    with raises(WeightsError, problem=(f"missing: {gone}\n", "unexpected: visual.extra")):
        load_weights(model, source)
    assert all((np.asarray(leaf) == -7).all() for leaf in leaves(model))


def test_long_lists_are_cut(backbone):
    with raises(WeightsError, problem=("missing: ", "… and 6 more")):
        load_weights(blank_model(layers=4), backbone)
    with raises(WeightsError, problem=("unexpected: ", "resblocks.2", "… and 6 more")):
        load_weights(blank_model(layers=2), backbone)


def test_adapters_come_all_together_or_not_at_all(whole):
    one = "backbone.transformer.resblocks.2.s_adapter.caf.fc.2.weight"
    for gone in (one, "backbone.temporal_embedding", "cls_head.fc_cls.weight"):
        part = {name: array for name, array in whole.items() if name != gone}
        with raises(WeightsError, problem=f"missing: {gone}\n"):
            load_weights(blank_model(), part)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 9}, r"fc_cls\.bias: expected \(9,\), found \(7,\), another class count"),
        ({"num_frames": 8}, r"expected \(1, 8, 64\), found \(1, 4, 64\), another number of frames"),
        ({"input_resolution": 40}, r"\(26, 64\), found \(17, 64\), another grid.*resize_positions"),
        ({"patch_size": 4, "input_resolution": 16}, r"\(64, 3, 4, 4\), found .*, another patch si"),
        ({"width": 48}, r"another width \(model\.width\)\n.* … and \d+ more$"),
        ({"spatial_kernel": (1, 3, 3)}, r"s_adapter.*\(4, 1, 1, 3, 3\), found .*, another kernel"),
    ],
)
def test_shapes_that_do_not_fit_name_the_likely_cause(whole, changes, message):
    with raises(WeightsError) as caught:
        load_weights(blank_model(**changes), whole)
    assert re.search(message, caught.value.problem, re.DOTALL)


def test_names_of_no_naming():
    titles = "reference, OpenAI CLIP, Hugging Face CLIP, timm"
    with raises(WeightsError, expected=titles, found="fc.weight"):
        load_weights(blank_model(), {"fc.weight": np.ones(3)})
    with raises(WeightsError, found="none"):
        load_weights(blank_model(), {})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_name_their_tensor(whole, value):
    bad = whole["backbone.ln_post.bias"].astype(np.float64)
    bad[3] = value
    with raises(WeightsError, where="backbone.ln_post.bias", found="1 of 64 values"):
        load_weights(blank_model(), whole | {"backbone.ln_post.bias": bad})


def test_quantized_weights_are_refused(whole):
    quantized = whole["backbone.conv1.weight"].astype(np.int8)
    with raises(WeightsError, where="conv1.weight", expected="floats", found="int8"):
        load_weights(blank_model(), whole | {"backbone.conv1.weight": quantized})


def cubic(x):
    """Keys' kernel, a = -0.5."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


def resampled(grid, side):
    """One axis at a time; a smaller grid widens the kernel; weights beyond the edge are dropped."""
    scale = max(len(grid) / side, 1)
    centers = (np.arange(side) + 0.5) * len(grid) / side - 0.5
    weights = cubic((centers[:, None] - np.arange(len(grid))) / scale)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ip,jq,pqd->ijd", weights, weights, grid)


@pytest.mark.parametrize("side", [2, 3, 5, 7])
def test_positions_are_resized_when_asked(backbone, side):
    name = "backbone.positional_embedding"
    model = blank_model(input_resolution=8 * side)
    with raises(WeightsError, problem="resize_positions=True"):
        load_weights(model, backbone)
    load_weights(model, hugging_face(backbone, ""), resize_positions=True)
    found, source = dump_weights(model)[name], backbone[name]
    np.testing.assert_array_equal(found[0], source[0])
    expected = resampled(source[1:].reshape(4, 4, -1).astype(np.float64), side)
    # float32 against float64, values of order one
    np.testing.assert_allclose(found[1:], expected.reshape(-1, 64), rtol=0, atol=2e-6)


def test_resizing_leaves_a_grid_that_fits(backbone):
    model = blank_model()
    load_weights(model, backbone, resize_positions=True)
    positions = dump_weights(model)["backbone.positional_embedding"]
    np.testing.assert_array_equal(positions, backbone["backbone.positional_embedding"])


def written(path, weights):
    if path.suffix == ".npz":
        np.savez_compressed(path, **weights)
    else:
        save_file(weights, path, metadata={"format": "$(not trusted)"})
    return path


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
def test_files(tmp_path, whole, file):
    model = blank_model()
    load_weights(model, written(tmp_path / file, whole))
    assert_same(dump_weights(model), whole)
    assert load_weights(model, str(tmp_path / file)).loaded == tuple(whole)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(tmp_path, whole, dtype):
    stored = {name: array.astype(dtype) for name, array in whole.items()}
    model = blank_model()
    load_weights(model, written(tmp_path / "w.safetensors", stored))
    assert_same(dump_weights(model), {n: a.astype(np.float32) for n, a in stored.items()})


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.999])
def test_truncated_files(tmp_path, whole, file, kept):
    path = written(tmp_path / file, whole)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert_one_line(path)


@pytest.mark.parametrize("file", ["w.safetensors", "w.npz"])
def test_garbled_files(tmp_path, file):
    path = tmp_path / file
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    assert_one_line(path)


def test_npz_members_garbled_or_pickled(tmp_path, whole):
    path = written(tmp_path / "w.npz", whole)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    assert_one_line(path)
    np.savez(path, **whole | {"backbone.class_embedding": np.array([print], dtype=object)})
    assert_one_line(path, "allow_pickle=False")
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    path.write_bytes(buffer.getvalue())
    assert_one_line(path, "one array")


def assert_one_line(path, *facts):
    with raises(WeightsError, where=str(path)) as caught:
        load_weights(blank_model(), path)
    assert all(fact in str(caught.value) for fact in facts)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        load_weights(blank_model(), tmp_path / "gone.npz")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        resolve_source(tmp_path)
    for name in ("w.ckpt", "weights"):
        (tmp_path / name).write_bytes(b"x")
        with raises(WeightsError, expected=".safetensors, .npz, .pt, .pth, .bin"):
            load_weights(blank_model(), tmp_path / name)


def test_hub_files_come_from_the_cache_of_the_pinned_commit(tmp_path, monkeypatch, whole):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--owner--repo" / "snapshots" / commit
    (snapshot / "sub").mkdir(parents=True)
    path = written(snapshot / "sub" / "w.safetensors", whole)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert resolve_source("hf:owner/repo/sub/w.safetensors", commit) == path
    model = blank_model()
    load_weights(model, "hf:owner/repo/sub/w.safetensors", revision=commit)
    assert_same(dump_weights(model), whole)
    written(snapshot / "model.safetensors", whole)
    assert resolve_source("hf:owner/repo", commit) == snapshot / "model.safetensors"
    with raises(WeightsError, where="hf:owner/repo/w.npz at revision main"):
        resolve_source("hf:owner/repo/w.npz")
    for malformed in ("hf:", "hf:repo", "hf:owner/", "hf:owner/repo/"):
        with raises(WeightsError, expected="hf:OWNER/REPO", found=malformed):
            resolve_source(malformed)


def test_pytorch_files_without_pytorch_say_how_to_convert(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it weren't installed
    for suffix in (".pt", ".pth", ".bin"):
        (tmp_path / f"w{suffix}").write_bytes(b"x")
        advice = ("pip install torch", "safetensors.torch.save_file")
        assert_one_line(tmp_path / f"w{suffix}", *advice)


def test_pytorch_files(tmp_path, whole):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in whole.items()}
    torch.save({"meta": {"epoch": 3}, "state_dict": tensors}, tmp_path / "w.pth")
    model = blank_model()
    load_weights(model, tmp_path / "w.pth")
    assert_same(dump_weights(model), whole)
    torch.save({name: tensor.bfloat16() for name, tensor in tensors.items()}, tmp_path / "w.bin")
    load_weights(model, tmp_path / "w.bin")
    rounded = {n: a.astype(ml_dtypes.bfloat16).astype(np.float32) for n, a in whole.items()}
    assert_same(dump_weights(model), rounded)
    torch.save(list(tensors.values()), tmp_path / "w.pt")
    assert_one_line(tmp_path / "w.pt", "state_dict", "list")
    torch.save({"state_dict": tensors, "work_dir": tmp_path}, tmp_path / "w.pt")
    assert_one_line(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pth").read_bytes()[:-9000])
    assert_one_line(tmp_path / "w.pt")


# PyTorch warns that the format of OpenAI's files is old, and before it refuses others of it.
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_is_opened_only_if_its_hash_is_published(tmp_path, monkeypatch, backbone):
    torch = pytest.importorskip("torch")
    root = torch.nn.Module()
    for name, array in openai_visual(backbone, "visual.").items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_parameter(leaf, torch.nn.Parameter(torch.from_numpy(array)))
    path = tmp_path / "ViT.pt"
    torch.jit.script(root).save(path)
    assert_one_line(path, "TorchScript", "ViT-B/16, ViT-L")
    monkeypatch.setitem(weight_files.OPENAI_SHA256, file_sha256(path), "this one")
    assert load_weights(blank_model(), path).ignored == ("visual.proj",)
