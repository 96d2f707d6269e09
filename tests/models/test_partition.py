"""Which parameters are trained, against the reference's."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dstadapter_jax import DSTAdapter, ModelConfig, dump_weights
from dstadapter_jax.errors import ConfigError
from dstadapter_jax.models.partition import (
    count_parameters,
    describe_parameters,
    parameter_role,
    partition,
    roles,
)
from tests.helpers.errors import raises
from tests.helpers.golden import META


def flat_roles(model: DSTAdapter, tune: str) -> dict[str, str]:
    params = nnx.to_pure_dict(nnx.state(model))
    leaves = jax.tree.leaves_with_path(roles(params, tune))
    return {"/".join(key.key for key in path): role for path, role in leaves}


def test_partition_adapter_trains_the_names_of_the_reference(golden_model):
    graphdef, trainable, frozen = partition(golden_model, "adapter")
    marked = nnx.merge(
        graphdef,
        jax.tree.map(jnp.ones_like, trainable),
        jax.tree.map(jnp.zeros_like, frozen),
    )
    trained = [name for name, value in dump_weights(marked).items() if value.all()]
    assert sorted(trained) == sorted(META["trainable"])
    untrained = [name for name, value in dump_weights(marked).items() if not value.any()]
    assert len(trained) + len(untrained) == len(dump_weights(marked))


@pytest.mark.parametrize("tune", ["adapter", "head", "full"])
def test_roles_exempt_only_embeddings_and_norms_from_weight_decay(golden_model, tune):
    for path, role in flat_roles(golden_model, tune).items():
        spared = path.endswith("_embedding") or "ln_" in path
        assert role in (("no_decay",) if spared else ("decay",)) or role == "frozen", path


def test_roles_of_tunes_are_nested(golden_model):
    trained = {
        tune: {p for p, role in flat_roles(golden_model, tune).items() if role != "frozen"}
        for tune in ("head", "adapter", "full")
    }
    assert trained["head"] == {"head/kernel", "head/bias"}
    assert trained["head"] < trained["adapter"] < trained["full"]
    assert "frozen" not in flat_roles(golden_model, "full").values()


def test_describe_parameters_groups_trained_ones_by_part(golden_model):
    _, trainable, frozen = partition(golden_model, "adapter")
    found = describe_parameters(trainable, frozen)
    groups = found["groups"]
    assert set(groups) == {"t_adapter", "s_adapter", "temporal_embedding", "ln_post", "head"}
    assert groups["head"] == {"count": 7 * 65, "shapes": {"head/bias": [7], "head/kernel": [64, 7]}}
    assert sum(group["count"] for group in groups.values()) == found["trained"]
    assert found["parameters"] == count_parameters(trainable) + count_parameters(frozen)


def test_parameter_role_with_unknown_tune_raises():
    with raises(
        ConfigError, where="config.tune", expected="'adapter', 'head', 'full'", found="'adapters'"
    ):
        parameter_role(("head", "kernel"), "adapters")


@pytest.mark.parametrize(
    ("cfg", "total", "trained"),
    [
        (ModelConfig.vit_b16(num_classes=226), 89_367_552, 3_569_664),
        (ModelConfig.vit_l14(num_classes=226), 315_832_320, 12_654_592),
    ],
)
def test_count_parameters_equals_the_published_counts(cfg, total, trained):
    model = nnx.eval_shape(lambda: DSTAdapter(cfg, rngs=nnx.Rngs(0)))
    _, trainable, frozen = partition(model, "adapter")
    head = (cfg.width + 1) * cfg.num_classes
    assert count_parameters(trainable) == trained + head
    assert count_parameters(frozen) == total - trained
