"""HTML put together as a tree, so that no text from outside is ever taken for markup."""

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path

Node = ET.Element | str

# Sent along with the page, for a browser to refuse whatever else should get into it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CSS = Path(__file__).with_name("page.css")
MAX_ROWS = 200  # of a table
ERROR, WARNING, NOTE = LEVELS = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """A sentence that matters most of what was found.

    Attributes:
        level: `error` if it must be mended first, `warning` if results suffer, else `note`.
        text: what, how much, and what to do.
        section: of the page, where the details are.
    """

    level: str
    text: str
    section: str


def tag(name: str, /, *children: Node, **attributes: object) -> ET.Element:
    """An element; `class_` is the attribute `class`. Text is escaped when the page is written."""
    values = {
        key.rstrip("_").replace("_", "-"): printable(str(value))
        for key, value in attributes.items()
    }
    element = ET.Element(name, values)
    for child in children:
        if not isinstance(child, str):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + printable(child)
        else:
            element.text = (element.text or "") + printable(child)
    return element


def printable(text: str) -> str:
    r"""Shows what can't be seen, or turns a terminal's or a line's direction: `\x1b`, `\u202e`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def page(title: str, *sections: ET.Element | None, css: Path | None = None) -> str:
    """A whole HTML page that needs no other file.

    Args:
        title: Of the window.
        sections: Of the page; those that are None have nothing to say.
        css: A file of rules on top of those of every page.
    """
    style = ET.Element("style")
    style.text = "".join(path.read_text(encoding="utf-8") for path in (CSS, css) if path)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        style,
    )
    main = tag("main", *(section for section in sections if section is not None))
    html = tag("html", head, tag("body", main), lang="en")
    return "<!doctype html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"


def section(name: str, title: str, *children: Node) -> ET.Element:
    """A part of the page, which `#name` leads to."""
    return tag("section", tag("h2", title), *children, id=name)


def finding_list(found: Iterable[Finding]) -> ET.Element:
    """A list of sentences that lead to their sections, the gravest first."""
    items = [
        tag("li", tag("a", one.text, href=f"#{one.section}"), class_=one.level)
        for one in sorted(found, key=lambda one: LEVELS.index(one.level))
    ]
    return tag("ul", *items, class_="findings")


def table(header: Sequence[Node], rows: Iterable[Sequence[Node]], class_: str = "") -> ET.Element:
    """A table that scrolls by itself where it is too wide."""
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body, class_=class_), class_="scroll")


def cut_table(
    header: Sequence[Node],
    rows: Sequence[Sequence[Node]],
    class_: str = "rows",
    *,
    whole: str = "the JSON",
) -> list[Node]:
    """A table's first rows, how many more there are, and what has all of them."""
    shown = table(header, rows[:MAX_ROWS], class_)
    if len(rows) <= MAX_ROWS:
        return [shown]
    return [shown, tag("p", f"… and {len(rows) - MAX_ROWS:,} more: {whole} has all.")]


def details(summary: str, *children: Node) -> ET.Element:
    """What is shown when asked for."""
    return tag("details", tag("summary", summary), *children)


def fact_table(facts: Iterable[tuple[str, Node]]) -> ET.Element:
    """A table of two columns: what, and its value."""
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in facts]
    return tag("table", tag("tbody", *rows), class_="facts-table")
