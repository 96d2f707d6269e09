"""Charts: every count of the data is in the drawing."""

import numpy as np
import pytest

from dstadapter_jax.evaluation.calibration import Calibration
from dstadapter_jax.html.charts import (
    MAX_BARS,
    MAX_COLUMNS,
    ConfusionChart,
    Histogram,
    highest_total,
    position,
    top_bars,
)
from dstadapter_jax.html.page import render
from tests.helpers.html_page import Page

SPLITS = ("train", "validation", "test")


def drawn(folder, expression, **context):
    """The page that shows one macro of `charts.html`."""
    template = folder / "chart.html"
    template.write_text(
        '{% extends "base.html" %}{% import "charts.html" as charts %}'
        "{% block title %}chart{% endblock %}{% block header %}<h1>chart</h1>{% endblock %}"
        "{% block sections %}{{ " + expression + " }}{% endblock %}"
    )
    page = folder / "page.html"
    page.write_text(render(template, **context))
    found = Page(page)
    found.check()
    return found


def values_by_split(values):
    counts = {}
    for index, value in enumerate(values):
        series = counts.setdefault(value, dict.fromkeys(SPLITS, 0))
        series[SPLITS[index % 3]] += 1
    return counts


@pytest.mark.parametrize("classes", [1, 8, 30, 263])
def test_confusion_matrix_of_any_size_shows_every_count(tmp_path, classes):
    counts = np.random.default_rng(0).poisson(3 / classes, (classes, classes))
    counts += 2 * np.eye(classes, dtype=int)
    names = [f"sign {i} 手語 with a very long name" for i in range(classes)]
    page = drawn(tmp_path, "charts.confusion(chart)", chart=ConfusionChart(counts, names))
    texts = set(page.texts)
    cells = np.argwhere(counts)
    assert len(page.all("rect")) == 1 + len(cells)
    for row, column in cells[:: max(1, classes // 20)]:
        text = f"{names[row]} predicted as {names[column]}: {counts[row, column]} of"
        assert f"{text} {counts[row].sum()} clips" in texts
    assert f"Confusion matrix: {np.trace(counts):,} of {counts.sum():,} clips on" in page.text


def test_reliability_diagram_shows_every_bin(tmp_path):
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    calibration = Calibration.from_scores(probabilities, np.array([0, 1, 1]))
    page = drawn(tmp_path, "charts.reliability(calibration)", calibration=calibration)
    assert "1 clip: accuracy 0.0%, mean probability 80.0%" in page.texts
    assert [rect["class"] for rect in page.all("rect")].count("count") == 3
    assert [rect["class"] for rect in page.all("rect")].count("overconfident") == 1


@pytest.mark.parametrize("values", [[1], [8, 8, 9], range(1, 400), [*range(20, 60), 10_000]])
def test_histogram_counts_every_value_once(tmp_path, values):
    chart = Histogram.from_counts(values_by_split(values))
    assert 1 <= len(chart.columns) <= MAX_COLUMNS
    for index, split in enumerate(SPLITS):
        total = sum(column.get(split, 0) for column in chart.columns.values())
        assert total == sum(i % 3 == index for i in range(len(values)))
    assert (chart.minimum, chart.maximum) == (min(values), max(values))
    page = drawn(tmp_path, "charts.histogram('frames', chart)", chart=chart)
    assert f"minimum {min(values):,}" in page.texts
    titles = [text for text in page.texts if " to " in text]
    assert len(titles) == len(chart.columns)


def test_histogram_puts_every_value_into_its_range():
    chart = Histogram.from_counts(values_by_split([3, 27, 27, 140]))
    for value, count in {3: 1, 27: 2, 140: 1}.items():
        inside = [
            sum(series.values())
            for title, series in chart.columns.items()
            for low, high in [map(int, title.split(" to "))]
            if low <= value <= high
        ]
        assert inside == [count]


def test_bars_beyond_the_limit_are_summed_up(tmp_path):
    counts = {f"{i}x{i}": {"train": 100 - i, "test": 1} for i in range(MAX_BARS + 5)}
    rows = top_bars(counts)
    assert list(rows)[-1] == "6 others"
    assert sum(series["train"] for series in rows.values()) == sum(
        series["train"] for series in counts.values()
    )
    page = drawn(tmp_path, "charts.bars(rows)", rows=rows)
    assert {"0x0", "101", "6 others"} <= set(page.texts)


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [(0.25, 0, 1, 25), (0, -0.5, 0.5, 50), (2, 0, 1, 100), (-1, 0, 1, 0)],
)
def test_position_is_a_percentage_within_the_ends(value, low, high, expected):
    assert position(value, low, high) == expected


def test_highest_total_without_rows_is_one():
    assert highest_total({}) == 1
    assert highest_total({"a": {"x": 2, "y": 3}, "b": {"x": 4, "y": 0}}) == 5


def test_scale_draws_the_intervals_that_are_defined(tmp_path):
    page = drawn(tmp_path, "charts.scale(0.1, [(0.0, 0.5), none], -1, 1)")
    styles = {item["class"]: item["style"] for item in page.all("i")}
    assert styles == {
        "zero": "left:50.00%",
        "band0": "left:50.00%;width:25.00%",
        "dot": "left:55.00%",
    }
