"""Relative links and file names in the documentation."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tfds_builders/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_readme_has_at_most_130_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_architecture_names_existing_files():
    for name in re.findall(r"`([\w/]+\.py)", (ROOT / "docs/architecture.md").read_text()):
        placeholders = ("NAME", "DATASET", "pkg/")
        if "/" in name and not any(part in name for part in placeholders):
            names = [ROOT / name, ROOT / "dstadapter_jax" / name]
            assert any(map(pathlib.Path.exists, names)), name


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_page_begins_with_a_command(page):
    assert re.match(r"# .+\n\n    \S", page.read_text())
