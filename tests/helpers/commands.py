"""Commands in documentation, checked by the parsers of the real commands without running them."""

import argparse
import importlib
import importlib.util
import pathlib
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dstadapter_jax.cli import config_flags, console
from tests.helpers.processes import ROOT

# Programs of others; their arguments are not checked.
OTHERS = {"cd", "ffmpeg", "gcloud", "hf", "pip", "srun", "tail", "tensorboard"}
TOOLS = {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports", ".ci/run"}
PYTHONS = ("python", ".venv/bin/python")
ELLIPSIS = "…"


class Parsed(Exception):
    """The arguments were accepted; raised instead of running the command."""


class WrongUse(Exception):
    """The arguments were refused."""


def block_commands(text: str) -> Iterator[str]:
    """Yield the commands in a page's indented blocks whose first line is a command."""
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        lines = block.replace("\\\n", " ").splitlines()
        if _is_command(lines[0]):
            yield from lines


def inline_commands(text: str) -> Iterator[str]:
    """Yield the Python commands in a page's text, which may lack arguments."""
    for span in re.findall(r"`([^`]+)`", re.sub(r"^    .*\n", "", text, flags=re.MULTILINE)):
        if re.match(r"(\S+=\S+ )*(\.venv/bin/)?(python |dstadapter )", span):
            yield " ".join(span.split())


def check_command(command: str, *, complete: bool = True) -> None:
    """Raise WrongUse if a command has a program, module, file or flag that does not exist.

    Args:
        command: A line for the shell; `…` stands for further arguments.
        complete: Whether required arguments must be present.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[|&;<>]+", word):
            _check_words(words, complete=complete and ELLIPSIS not in command)
            words = []
        else:
            words.append(word)


def _is_command(line: str) -> bool:
    program = next(word for word in line.split() if not re.match(r"\w+=", word))
    return program in {*OTHERS, *PYTHONS, "sh", "dstadapter"} or program.startswith(
        (".venv", ".ci")
    )


def _check_words(words: list[str], *, complete: bool) -> None:
    while words and re.match(r"\w+=", words[0]):  # environment variables
        words = words[1:]
    program, *arguments = words
    nested = [word.partition("=")[2] for word in arguments if " && " in word]
    for command in nested:
        check_command(command, complete=complete)
    if program in ("sh", *OTHERS, ".venv/bin/pip"):
        inner = next((i for i, word in enumerate(arguments) if word in PYTHONS), len(arguments))
        _check_files(arguments[:inner])
        words = arguments[inner:]
    elif program in TOOLS:
        return
    elif program not in (*PYTHONS, "dstadapter"):
        raise WrongUse(f"unknown program {program!r}")
    if words and words[0] in (*PYTHONS, "dstadapter"):
        _check_python(words, complete=complete)


def _check_files(arguments: list[str]) -> None:
    for word in arguments:
        if word.endswith((".sh", ".txt")) and not (ROOT / word).is_file():
            raise WrongUse(f"no file {word}")


def _check_python(words: list[str], *, complete: bool) -> None:
    program, first, *arguments = words
    if program == "dstadapter":
        if first not in console.COMMANDS:
            raise WrongUse(f"unknown command {first!r}")
        name = console.COMMANDS[first][0]
    elif first == "-m":
        name, *arguments = arguments
    else:
        name = first.removesuffix(".py")
        if not any((ROOT / folder / first).is_file() for folder in (".", "docs")):
            raise WrongUse(f"no file {first}")
    if name == "pytest":
        _check_tests(arguments)
    elif name.startswith(("dstadapter_jax", "launch", "tfds_builders")):
        arguments = [_filled(word) for word in arguments if ELLIPSIS not in word]
        _parse(_module(name), [word for word in arguments if word], complete=complete)
    elif name.startswith(("tests", "benchmarks")):
        _module(name, run=False)


def _check_tests(arguments: list[str]) -> None:
    for word in arguments:
        if word.startswith("tests/") and not (ROOT / word).exists():
            raise WrongUse(f"no tests {word}")


def _filled(word: str) -> str:
    """An argument with a value for its placeholder; '' for a whole field that is one."""
    word = word.replace("configs/NAME.py", "configs/demo.py")
    word = re.sub(r"(^|=)([A-Z])$", r"\g<1>1", word)  # N, I
    return "" if word.startswith("--config.FIELD") else word


def _module(name: str, *, run: bool = True) -> Any:
    try:
        package = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError:  # a module, not a package
        package = None
    name = f"{name}.__main__" if package else name
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise WrongUse(f"no module {name}")
    return importlib.import_module(name) if run else None


def _parse(module: Any, arguments: list[str], *, complete: bool) -> None:
    if not module.main.__code__.co_argcount:  # a command without arguments
        if arguments:
            raise WrongUse(f"unexpected {arguments}")
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "error", _refuse)
        patch.setattr(argparse.ArgumentParser, "parse_args", _stop_after_parsing(complete))
        patch.setattr(config_flags, "parse_config_flags", _stop_after_flags(complete))
        patch.setattr("dstadapter_jax.export.onnx.PACKAGES", ())  # an extra
        try:
            module.main(arguments)
        except Parsed:
            return
    raise AssertionError(f"{module.__name__} parsed no arguments")


def _refuse(parser: argparse.ArgumentParser, message: str) -> None:
    raise WrongUse(f"{parser.prog}: {message}")


def _stop_after_parsing(complete: bool) -> Callable:
    parse_args = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
        if not complete:
            for part in (*parser._actions, *parser._mutually_exclusive_groups):
                part.required = False
        parsed = parse_args(parser, arguments)
        if parser.prog.endswith("dstadapter_jax.export"):  # its subcommand parses the rest
            if parsed.kind is None:
                raise Parsed
            return parsed
        raise Parsed

    return parse


def _stop_after_flags(complete: bool) -> Callable:
    parse_flags = config_flags.parse_config_flags

    def parse(values: Any, argv: list[str], usage: str, required: str = "config") -> None:
        if not complete and not any(word.startswith("--config") for word in argv):
            argv = [*argv, "--config=configs/demo.py"]
        if not complete and not any(word.startswith(f"--{required}") for word in argv):
            argv = [*argv, f"--{required}=x"]
        try:
            parse_flags(values, argv, usage, required)
        except SystemExit as error:
            raise WrongUse(f"{argv}: see the usage on stderr") from error
        raise Parsed

    return parse


def page_paths() -> list[pathlib.Path]:
    """Pages whose commands are checked."""
    pages = [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("tfds_builders/**/*.md"))]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages]
