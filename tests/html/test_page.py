"""Pages from templates: text is escaped, long tables are cut."""

import jinja2
import pytest

from dstadapter_jax.html.page import ERROR, NOTE, WARNING, Finding, by_severity, render
from tests.helpers.html_page import Page

TEMPLATE = """{% extends "base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block header %}<h1>{{ name }}</h1>{{ parts.finding_list(findings) }}{% endblock %}
{% block sections %}
{% call parts.section("all", name) %}
{% call(row) parts.long_table(["number"], rows) %}<td title="{{ name }}">{{ row }}</td>{% endcall %}
{% endcall %}
{% endblock %}
"""
HOSTILE = "\"'><script>alert(1)</script> &lt; \x1b[31m \u202e"


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "template.html"
    path.write_text(TEMPLATE)
    return path


def rendered(template, rows=()):
    findings = [Finding(NOTE, HOSTILE, "all"), Finding(ERROR, "first", "all")]
    page = template.with_name("page.html")
    page.write_text(render(template, name=HOSTILE, rows=list(rows), findings=by_severity(findings)))
    return Page(page)


def test_page_with_hostile_text_shows_it_as_text(template):
    page = rendered(template, [HOSTILE])
    page.check()
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert page.texts.count(shown) == 5  # title, h1, finding, h2, cell
    assert [cell["title"] for cell in page.all("td")] == [shown]


def test_findings_are_listed_errors_first(template):
    assert [item["class"] for item in rendered(template).all("li")] == [ERROR, NOTE]
    levels = [finding.level for finding in by_severity(Finding(x, "", "") for x in (NOTE, WARNING))]
    assert levels == [WARNING, NOTE]


def test_long_table_is_cut_and_counts_the_other_rows(template):
    page = rendered(template, range(1203))
    assert len(page.all("td")) == 200
    assert "… and 1,003 more: the JSON file lists all." in page.text


def test_template_with_an_unknown_variable_raises(template):
    with pytest.raises(jinja2.UndefinedError):
        render(template, name="", findings=[])
