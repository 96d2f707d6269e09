"""The page on runs that each left one signer out."""

import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from dstadapter_jax.evaluation import bootstrap
from dstadapter_jax.evaluation.report.charts import CSS
from dstadapter_jax.evaluation.report.intervals import (
    FEW_SIGNERS,
    TITLES,
    card,
    interval_text,
    percent,
    scale,
)
from dstadapter_jax.html.markup import (
    NOTE,
    WARNING,
    Finding,
    Node,
    cut_table,
    finding_list,
    page,
    section,
    tag,
)


def render(result: Mapping[str, Any], folders: Mapping[str, str]) -> str:
    """Returns the page: HTML that needs no other file.

    Args:
        result: What `leave_one_signer_out.json` holds.
        folders: Of each signer's run, from the page's.
    """
    return page("Leave one signer out", _head(result), _signers(result, folders), css=CSS)


def _head(result: Mapping[str, Any]) -> ET.Element:
    done, all_signers = result["signers"], result["all_signers"]
    any_of_them = next(iter(done.values()))
    clips = sum(of["num_clips"] for of in done.values())
    about = f"{len(done)} of {len(all_signers)} signers · {clips:,} clips · views:"
    text = (
        "Each signer's clips were scored by a network that was trained without them. The figures"
        " are means over signers, each counting the same. 95% intervals of these (band):"
        f" {bootstrap.METHOD}, over signers: how far the mean would move with other people."
    )
    if len(done) < FEW_SIGNERS:
        text += " Of so few it is rough, and rather too narrow."
    text += " The runs share most of what they were trained on, which no interval tells."
    return tag(
        "header",
        tag("p", "Leave one signer out", class_="soft"),
        tag("h1", any_of_them["dataset"]),
        tag("p", f"{about} {any_of_them['views']}", class_="soft"),
        tag("div", *(_card(name, result) for name in bootstrap.METRICS), class_="cards"),
        finding_list(_findings(result)),
        tag("p", text, class_="soft"),
    )


def _card(name: str, result: Mapping[str, Any]) -> ET.Element:
    mean, interval = result["mean"][name], result["intervals"]["over_signers"][name]
    each = [of[name] for of in result["signers"].values()]
    told = {
        "95% over signers": interval_text(interval),
        "worst": percent(min(each)),
        "best": percent(max(each)),
    }
    return card(TITLES[name], percent(mean), scale(mean, interval), told)


def _findings(result: Mapping[str, Any]) -> Iterator[Finding]:
    done = result["signers"]
    if left := len(result["all_signers"]) - len(done):
        text = f"{left} signers are still to be trained for: the same command goes on."
        yield Finding(WARNING, text, "signers")
    worst = result["worst_signer"]
    text = f"The worst recognized is {worst}: top-1 {percent(done[worst]['top1'])}."
    yield Finding(NOTE, text, "signers")
    if lacking := sum(of["num_missing"] for of in done.values()):
        text = f"{lacking:,} clips are missing or damaged: they count as wrong."
        yield Finding(WARNING, text, "signers")


def _signers(result: Mapping[str, Any], folders: Mapping[str, str]) -> ET.Element:
    order = sorted(result["signers"].items(), key=lambda item: item[1]["top1"])
    header = ["signer", "0 to 100%", "top-1", "95% over clips", "clips", "top-5", "mean class"]
    rows = [_row(signer, of, folders[signer]) for signer, of in order]
    return section("signers", "Signers", *cut_table(header, rows, "figures signers"))


def _row(signer: str, of: Mapping[str, Any], folder: str) -> list[Node]:
    interval = of["intervals"]["over_clips"]["top1"]
    link = tag("a", signer, href=f"{urllib.parse.quote(folder)}/report_test.html")
    figures = (percent(of[name]) for name in ("top5", "mean_class_accuracy"))
    return [
        *(link, scale(of["top1"], interval), percent(of["top1"]), interval_text(interval)),
        *(f"{of['num_clips']:,}", *figures),
    ]
