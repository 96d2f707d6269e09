"""Reads a page of this project more strictly than browsers do."""

import pathlib
from collections.abc import Collection
from html.parser import HTMLParser

VOID = {"meta", "br", "img"}
RUNS_OR_FETCHES = {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Page(HTMLParser):
    """Elements in order with their attributes, and texts; wrong nesting fails."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style, self._open = "", list[str]()
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]

    def check(self, own_files: Collection[str] = ()) -> None:
        """Fails if anything runs or is fetched, a link leads nowhere, or a picture lacks a text."""
        assert not {name for name, _ in self.tags} & RUNS_OR_FETCHES
        assert [of["content"] for of in self.all("meta") if "http-equiv" in of] == [POLICY]
        assert "url(" not in self.style
        assert "@import" not in self.style
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert attributes.get("src", "data:image/jpeg;base64,").startswith(
                "data:image/jpeg;base64,"
            )
            href = attributes.get("href", own_files)
            assert href is own_files or href.removeprefix("#") in ids or href in own_files
        assert all(image["alt"] for image in self.all("img"))
        assert len(self.all("h1")) == 1
        # Each drawing begins with a title.
        names = [name for name, _ in self.tags]
        assert all(names[i + 1] == "title" for i, name in enumerate(names) if name == "svg")
