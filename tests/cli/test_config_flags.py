"""Wrong use of `--config` and its fields."""

import pytest

from tests.helpers.processes import launch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/none.py", "--workdir", "x"], "configs/none.py"),
        (["--config", "TINY", "--workdir", "x", "--config.model.widht=4"], 'Did you mean "width"'),
        (["--config", "TINY", "--workdir", "x", "--config.seed=a"], "seed"),
        (["--workdir", "x"], "--config is needed"),
    ],
)
def test_launch_with_invalid_flags_exits_with_2(config_file, arguments, message):
    arguments = [config_file if a == "TINY" else a for a in arguments]
    result = launch(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
