"""Updates and saves of a trainer."""

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dstadapter_jax.checkpoints.manager import Checkpointer
from dstadapter_jax.models.config import ModelConfig
from dstadapter_jax.models.partition import partition
from dstadapter_jax.pretrained.initialization import build_model, init_model
from dstadapter_jax.pretrained.loading import dump_weights
from dstadapter_jax.pretrained.weight_table import is_adapter_weight
from dstadapter_jax.training.trainer import Trainer
from tests.helpers.runs import trainable_weights


def test_save_writes_trainable_weights_only(run_dir, config):
    model, _ = build_model(config)
    _, start, _ = partition(model, "adapter")
    saved = ocp.StandardCheckpointer().metadata(run_dir.absolute() / "checkpoints/24/trainable")
    names, trained = (
        {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(dict(tree))}
        for tree in (saved.item_metadata, start)
    )
    assert names == trained
    trainable = trainable_weights(run_dir, config, 24)
    for name in ("head", "blocks"):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), trainable[name], start[name])
        assert any(jax.tree.leaves(moved)), name


def test_trainer_takes_and_keeps_the_activation_of_its_backbone(config, tmp_path):
    tower = {
        name: array
        for name, array in dump_weights(init_model(ModelConfig(**config.model), 0)).items()
        if not is_adapter_weight(name)
    }
    np.savez(tmp_path / "clip.npz", **tower)
    (tmp_path / "config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    config.model.activation, config.pretrained = "", str(tmp_path / "clip.npz")
    run = Trainer(config, tmp_path / "run")
    run.close()
    assert run.metadata()["config"]["model"]["activation"] == "gelu"
    clips = np.ones((1, config.model.num_frames, 32, 32, 3), np.float32)
    model, _ = build_model(config)
    config.model.activation = "quick_gelu"
    quick, _ = build_model(config)
    assert np.abs(model.features(clips) - quick.features(clips)).max() > 1e-6


def test_update_logs_the_memory_of_the_step_once(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run = Trainer(config, tmp_path)
    for _ in range(2):
        run.update()
    run.close()
    (record,) = [r for r in caplog.records if r.funcName == "log_memory"]
    total, held, temporary = record.args[:3]
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves((run.state, run.frozen)))
    assert weights <= held * 1e9 < 2 * weights
    assert temporary > 0
    assert total == pytest.approx(held + temporary)


def test_restore_continues_the_device_hours(run_dir, config, tmp_path):
    run = Trainer(config, tmp_path)
    with Checkpointer(run_dir, read_only=True) as checkpoints:
        before = checkpoints.metadata(24)["compute"]
        run.restore(checkpoints, 24)
    run.close()
    now = run.compute.summary()
    assert (now["devices"], now["device_kind"]) == (jax.device_count(), before["device_kind"])
    assert 0 < before["device_hours"] < now["device_hours"] < 1


def test_update_with_bfloat16_keeps_float32_weights(config, tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        config.model.dtype = dtype
        run = Trainer(config, tmp_path)
        for _ in range(12):
            run.update()
        losses[dtype] = np.array([float(loss) for loss in run.losses])
        kinds = {leaf.dtype for leaf in jax.tree.leaves(run.state)}
        assert kinds == {jnp.dtype("float32"), jnp.dtype("int32")}
        assert {leaf.dtype for leaf in jax.tree.leaves(run.frozen)} == {jnp.dtype("float32")}
        run.close()
    # bfloat16 has 8 bits, so that a number is rounded by up to 0.4 %.
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], atol=0.01)
    assert (losses["bfloat16"] != losses["float32"]).all()
