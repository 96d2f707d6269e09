"""Pages from templates that escape all text."""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from dstadapter_jax.html import charts, formats

TEMPLATES = Path(__file__).with_name("templates")
MAX_ROWS = 200  # of a table in a page
ERROR, WARNING, NOTE = LEVELS = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """A sentence at the top of a page.

    Attributes:
        level: `error` if results are wrong until it is fixed, `warning` if they suffer, or `note`.
        text: The finding and, where there is one, its remedy.
        section: Id of the section of the page with the details.
    """

    level: str
    text: str
    section: str


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, errors first."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def render(template: Path, **context: Any) -> str:
    """Renders a page that needs no other file from a template that extends `base.html`.

    All text is escaped, and unprintable characters are shown as escapes. A missing variable of the
    template is an error.
    """
    return _environment(template.parent).get_template(template.name).render(context)


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        formats.percent,
        formats.points,
        formats.interval,
        formats.points_interval,
        formats.thousands,
        formats.counted,
        formats.listed,
        charts.position,
        charts.highest_total,
    ):
        environment.filters[function.__name__] = function
    environment.globals.update(MAX_ROWS=MAX_ROWS)
    return environment


def _show(value: object) -> object:
    return value if hasattr(value, "__html__") else formats.printable(str(value))
