"""Facts on the network behind a figure."""

from dstadapter_jax.data.views import Views
from dstadapter_jax.evaluation.report.provenance import network_facts


def test_network_facts_of_autsl_vitb_equal_known_counts():
    from configs import autsl_vitb

    config = autsl_vitb.get_config().to_dict()
    config["model"]["activation"] = "quick_gelu"  # a run states that of its backbone
    facts = network_facts(config, Views(3, 2))
    head = 768 * 226 + 226
    assert facts["parameters"] == 89_367_552 + head
    assert facts["trained_parameters"] == 3_569_664 + head
    assert facts["flops_per_clip"] == 6 * facts["flops_per_view"]
    # A ViT-B/16 takes 17.6 billion multiply-adds a frame; adapters add some.
    assert 8 * 2 * 16e9 < facts["flops_per_view"] < 8 * 2 * 19e9
