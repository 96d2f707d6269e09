"""HTML put together as a tree, so that no text from outside is ever taken for markup."""

import xml.etree.ElementTree as ET

Node = ET.Element | str

# Sent along with the page, for a browser to refuse whatever else should get into it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def tag(name: str, /, *children: Node, **attributes: object) -> ET.Element:
    """An element; `class_` is the attribute `class`. Text is escaped when the page is written."""
    values = {key.rstrip("_"): printable(str(value)) for key, value in attributes.items()}
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


def page(title: str, css: str, *body: Node) -> str:
    """A whole HTML page that needs no other file."""
    style = ET.Element("style")
    style.text = css
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        style,
    )
    html = tag("html", head, tag("body", *body), lang="en")
    return "<!doctype html>\n" + ET.tostring(html, encoding="unicode", method="html") + "\n"
