"""Invalid config values are refused before a run writes anything."""

import pytest

from dstadapter_jax.training.loop import train_and_evaluate


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("model.num_classes", 5, ["3", "--config.model.num_classes=3"]),
        ("model.width", 33, ["model.heads=2"]),
        ("batch_size", 0, ["at least 1"]),
        ("batch_size", 64, ["27"]),
        ("seed", 2**63, [str(2**63 - 1)]),
        ("num_epochs", 2**31 // 6 + 1, [str(2**31 // 6)]),
        ("tune", "adapters", ["'adapter', 'head', 'full'"]),
        ("data.decoder", "opencv", ["pyav, decord"]),
        ("data.dir", "nowhere", ["nowhere/recordings/frames"]),
        ("data.name", "recordings", ["DATASET/CONFIG"]),
        ("optimizer.learning_rate", 0.0, ["more than 0"]),
        ("preprocess.flip_probability", 2.0, ["0 to 1"]),
        ("allow_changed", "num_epochs,lr", ["optimizer.learning_rate", "'lr'", "batch_size"]),
        ("mesh.data", 3, ["config.mesh", "fsdp = 1"]),
    ],
)
def test_train_and_evaluate_with_invalid_field_raises_before_writing(
    config, tmp_path, field, value, parts
):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError) as error:  # noqa: PT011 - parts of the message follow
        train_and_evaluate(config, tmp_path / "run")
    found = [] if field in ("data.dir", "allow_changed") else [str(value)]
    for part in (field.rpartition(".")[2], *found, *parts):
        assert part in str(error.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_train_and_evaluate_without_backbone_file_raises_before_writing(config, tmp_path):
    config.pretrained = "nothing.npz"
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
