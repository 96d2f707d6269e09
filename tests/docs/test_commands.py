"""Commands in the documentation against the parsers of the real commands."""

import pytest

from tests.helpers.commands import (
    WrongUse,
    block_commands,
    check_command,
    inline_commands,
    page_paths,
)


@pytest.mark.parametrize("page", page_paths(), ids=lambda page: f"{page.parent.name}/{page.name}")
def test_commands_of_a_page_are_accepted_by_their_parsers(page):
    text, refused = page.read_text(), []
    commands = [(command, True) for command in block_commands(text)]
    commands += [(command, False) for command in inline_commands(text)]
    for command, complete in commands:
        try:
            check_command(command, complete=complete)
        except WrongUse as error:
            refused.append(f"{command.strip()}: {error}")
    assert not refused


def test_readme_has_commands():
    assert len(list(block_commands(page_paths()[0].read_text()))) >= 10


@pytest.mark.parametrize(
    "command",
    [
        "pyton launch.py",
        "python lunch.py",
        "sh setpu.sh dev",
        "pip install -r requirements-ap.txt",
        "python -m dstadapter_jax.predit clip.mp4",
        "python -m dstadapter_jax.evaluate --workdir RUN --veiws 3x4",
        "python -m dstadapter_jax.export onxn --workdir RUN",
        "python -m dstadapter_jax.export onnx --workdir RUN",
        "python -m dstadapter_jax.demo.stills --seed 1",
        "python launch.py --config configs/autsl.py --workdir RUN",
        "python launch.py --config configs/autsl_vitb.py --workdir RUN --config.data.folder=DATA",
        "python launch.py --config configs/autsl_vitb.py --workdir RUN --data_dir=DATA",
        'gcloud ssh NAME --command="cd dstadapter_jax && python launch.py --confg configs/demo.py"',
        "python -m pytest tests/exports",
        "dstadapter trian --config configs/demo.py",
        "python -m tfds_builders recordings --manual_dir SRC --num_shards 3",
        "python -m tfds_builders check recordings --manual_dir SRC --data_dir DATA",
    ],
)
def test_check_command_with_a_wrong_word_refuses(command):
    with pytest.raises(WrongUse):
        check_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "XLA_FLAGS=--x=8 python -m dstadapter_jax.benchmark --mode compile --mesh 1x8",
        "python -m dstadapter_jax.predict --adapter dgs=a.safetensors clip.mp4 | tail -n 1",
        "python launch.py --config configs/NAME.py --workdir RUN --config.FIELD=value …",
        "python -m dstadapter_jax.export push signs.safetensors OWNER/REPO",
        "srun --nodes=2 .venv/bin/python launch.py --config configs/demo.py --workdir RUN",
    ],
)
def test_check_command_with_shell_syntax_and_placeholders_accepts(command):
    check_command(command)
