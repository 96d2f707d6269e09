import subprocess
import sys

import pytest

from dstadapter_jax.cli import console
from tests.helpers.processes import run_python

MODULE = ("-m", "dstadapter_jax.cli.console")


def test_main_without_command_lists_all_and_exits_with_2():
    result = run_python(*MODULE)
    assert result.returncode == 2
    assert result.stdout == ""
    assert all(name in result.stderr for name in console.COMMANDS)
    assert run_python(*MODULE, "--help").returncode == 0


@pytest.mark.parametrize("name", console.COMMANDS)
def test_main_with_command_shows_its_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dstadapter", name, "--help"])
    monkeypatch.setattr(console, "TRAINING", ())  # leave the signals of the tests' process alone
    monkeypatch.setattr(console, "run_cli", lambda command: command(sys.argv[1:]))
    try:
        status = console.main()
    except SystemExit as stopped:
        status = stopped.code
    assert status in (0, None)
    assert "--" in capsys.readouterr().out


def test_import_of_the_package_changes_no_signal_handler_and_imports_nothing_heavy():
    code = (
        "import signal, sys; before = [signal.getsignal(s) for s in signal.valid_signals()];"
        "import dstadapter_jax;"
        "assert before == [signal.getsignal(s) for s in signal.valid_signals()];"
        "assert not {'jax', 'tensorflow_datasets'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_read_adapter_imports_no_dataset_library():
    code = (
        "import sys; import dstadapter_jax.adapters.file;"
        "heavy = {'tensorflow_datasets', 'grain', 'dstadapter_jax.spotting'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
