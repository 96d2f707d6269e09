"""CONTRIBUTING.md's banned words do not occur in the project."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".html", ".txt", ".toml", ".ipynb", ".sh"}
BANNED = re.compile(r"(?i:\b(tol[d]|tel[l]s?|what[ ]it)\b)|\b(MOST|LEAST)_")
# Names of others: Python's file method, XLA's flag.
ALLOWED = re.compile(r"\.tell\(\)|JAX_DISABLE_MOST_OPTIMIZATIONS")
EXEMPT = {Path("CONTRIBUTING.md"), Path("tests/docs/test_words.py")}  # they list the words
ROOMS = ("dstadapter_jax", "tfds_builders", "configs", "benchmarks", "docs", "tests", ".")


def texts(room: str) -> list[Path]:
    files = (ROOT / room).glob("*") if room == "." else (ROOT / room).rglob("*")
    shown = {path.relative_to(ROOT) for path in files if path.suffix in SUFFIXES}
    return sorted(path for path in shown - EXEMPT if not path.name.startswith("."))


@pytest.mark.parametrize("room", ROOMS)
def test_text_without_banned_words(room):
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in texts(room)
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), 1)
        if BANNED.search(ALLOWED.sub("", line))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_do_not_begin_with_of(room):
    found = [
        f"{path}:{getattr(node, 'lineno', 1)}"
        for path in texts(room)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and (ast.get_docstring(node) or "").startswith("Of ")
    ]
    assert not found, "\n".join(found)
