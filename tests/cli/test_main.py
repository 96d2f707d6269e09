"""The entry point of every command: messages instead of stack traces."""

import json
import os
import pathlib
import re

import pytest

from dstadapter_jax.cli.main import _platform_message, configure_jax
from tests.helpers.processes import run_python

COMMANDS = ("evaluate", "predict", "calibrate", "browse", "leave_one_signer_out")
OUT_OF_MEMORY = """
from dstadapter_jax.cli.main import run_cli; import jax.numpy as jnp
raise SystemExit(run_cli(lambda _: jnp.zeros(2**50)))
"""
ZEROS = """
from dstadapter_jax.cli.main import run_cli; import jax.numpy as jnp
raise SystemExit(run_cli(lambda _: print(jnp.zeros(3).dtype) or 0))
"""
# As root may do everything, the error that others get for another user's file is raised here.
WITHOUT_PERMISSION = """
from dstadapter_jax.cli.main import run_cli
def main(_): raise PermissionError(13, "Permission denied", "run/tensorboard/events")
raise SystemExit(run_cli(main))
"""
# Runs a command that receives a signal when it first imports JAX.
INTERRUPTED_IMPORT = """
import runpy, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "jax":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.Signals[signum])
sys.meta_path.insert(0, Interrupt())
_, module, signum, *command = sys.argv
sys.argv = [module, *command, "--workdir", "run", "--config", "configs/demo.py"]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def test_configure_jax_without_home_does_nothing(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # not in the list of users
    with pytest.raises(RuntimeError):
        pathlib.Path.home()
    configure_jax()


def test_run_cli_out_of_device_memory_advises_smaller_batches():
    result = run_python("-c", OUT_OF_MEMORY)
    assert result.returncode == 1
    expected = r"error: RESOURCE_EXHAUSTED: .*\n.*gradient_accumulation_steps .*remat=full.*\n"
    assert re.fullmatch(expected, result.stderr)


@pytest.mark.parametrize("platform", ["tpu", "cuda", "nonsense"])
def test_run_cli_on_a_missing_platform_names_it(platform, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    result = run_python("-c", ZEROS)
    assert result.returncode == 1
    assert re.fullmatch(rf"error: .*JAX_PLATFORMS='{platform}'.*\n.*Unset.*\n", result.stderr)


def test_platform_message_without_an_address_of_this_machine_names_the_cause(monkeypatch):
    """As XLA's Gloo fails where /etc/hosts lacks the machine's name."""

    def fail(*_):
        raise RuntimeError("Unable to initialize backend 'cpu': gloo/transport/tcp/device.cc:99")

    monkeypatch.setattr("jax.devices", fail)
    monkeypatch.setattr("socket.gethostname", lambda: "name.invalid")
    assert "/etc/hosts" in _platform_message()
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert "/etc/hosts" not in _platform_message()


def test_run_cli_with_x64_computes_in_float32(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    assert run_python("-c", ZEROS).stdout == "float32\n"


def test_run_cli_with_ascii_output_escapes_other_characters(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run_python("-m", "dstadapter_jax.predict", "--adapter", "demo", "nö.mp4")
    assert result.returncode == 1
    assert json.loads(result.stdout)["video"] == "nö.mp4"
    assert run_python("launch.py", "--help").returncode == 0


def test_run_cli_without_permission_names_the_file():
    result = run_python("-c", WITHOUT_PERMISSION)
    assert result.returncode == 1
    assert re.fullmatch(r"error: run/tensorboard/events: .*chmod .*\n", result.stderr)


@pytest.mark.parametrize("module", ["launch", *(f"dstadapter_jax.{name}" for name in COMMANDS)])
def test_command_interrupted_while_importing_exits_without_a_stack_trace(module):
    result = run_python("-c", INTERRUPTED_IMPORT, module, "SIGINT")
    assert result.returncode == 130
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("launch",),
        ("dstadapter_jax.leave_one_signer_out",),
        ("dstadapter_jax.cli.console", "train"),
    ],
)
def test_training_command_terminated_while_importing_exits_with_one_line(command):
    module, *arguments = command
    result = run_python("-c", INTERRUPTED_IMPORT, module, "SIGTERM", *arguments)
    assert result.returncode == 0
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
