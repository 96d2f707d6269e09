"""Model cards of adapter files."""

from huggingface_hub import ModelCard


def test_model_card_is_valid_for_the_hub(signs):
    card = ModelCard.load(signs.with_suffix(".md"))
    assert (card.data.license, card.data.language) == ("cc-by-4.0", "gsg")
    assert card.data.pipeline_tag == "video-classification"
    results = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert results["validation", "top-1"] == 0.5
    assert "sign 0, sign 1, sign 2" in card.text
    assert "--adapter signs.safetensors" in card.text
    assert "--backbone FILE" in card.text
