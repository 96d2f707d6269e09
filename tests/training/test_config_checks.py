"""Invalid config values are refused before a run writes anything."""

import pytest

from dstadapter_jax.training.loop import train_and_evaluate


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_classes", 5, r"num_classes: expected 3.*found 5.*=3"),
        ("model.width", 33, r"model.width: expected .* multiple of model.heads"),
        ("batch_size", 0, r"config.batch_size: expected at least 1, found 0"),
        ("seed", 2**63, r"config.seed: expected at most 9223372036854775807, found"),
        ("num_epochs", 2**31 // 6 + 1, r"num_epochs: expected at most 357913941: .* found 3579139"),
        ("batch_size", 64, r"64.* found 27"),
        ("tune", "adapters", r"config.tune: expected one of"),
        ("data.decoder", "opencv", r"config.data.decoder: expected one of"),
        ("data.dir", "nowhere", r"no built dataset in nowhere"),
        ("optimizer.learning_rate", 0.0, r"learning_rate: expected more than 0, found 0.0"),
        (
            "data.name",
            "recordings",
            r"config.data.name: expected DATASET/CONFIG, found 'recordings'",
        ),
        (
            "preprocess.flip_probability",
            2.0,
            r"preprocess.flip_.*: expected 0 to 1, found 2.0",
        ),
        ("pretrained", "nothing.npz", r"nothing.npz"),
        ("allow_changed", "num_epochs,lr", r"allow_changed: .*optimizer.learn.*found 'lr'.*batch"),
        ("mesh.data", 3, r"config.mesh: .*found data = 3"),
    ],
)
def test_train_and_evaluate_with_invalid_field_raises_before_writing(
    config, tmp_path, field, value, message
):
    config.update_from_flattened_dict({field: value})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
