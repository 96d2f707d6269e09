"""Model card of an adapter file: a README with the metadata header of the Hugging Face Hub."""

import html
import pathlib
from collections.abc import Iterator
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from dstadapter_jax.adapters.file import Adapter
from dstadapter_jax.pretrained.backbone import bundled_path

FRACTIONS = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean class accuracy"}


def model_card(adapter: Adapter, file_name: str) -> str:
    """Markdown of the card of an adapter file; `file_name` has no folder."""
    header = ModelCardData(
        model_name=pathlib.PurePath(file_name).stem,
        language=adapter.language or None,
        license=adapter.license.lower() or None,  # the hub's identifiers are in lower case
        library_name="dstadapter_jax",
        pipeline_tag="video-classification",
        tags=["sign-language", "sign-language-recognition", "dstadapter", "adapter"],
        base_model=_hub_repository(adapter),
        eval_results=list(_eval_results(adapter)) or None,
    )
    return f"---\n{header.to_yaml()}\n---\n\n{_body(adapter, file_name)}"


def _hub_repository(adapter: Adapter) -> str | None:
    source = adapter.backbone.source
    return "/".join(source.removeprefix("hf:").split("/")[:2]) if source[:3] == "hf:" else None


def _eval_results(adapter: Adapter) -> Iterator[EvalResult]:
    for split, metrics in adapter.metrics.items():
        for name, title in FRACTIONS.items():
            if name in metrics:
                yield EvalResult(
                    task_type="video-classification",
                    dataset_type=adapter.config["data"]["name"],
                    dataset_name=adapter.config["data"]["name"],
                    dataset_split=split,
                    metric_type="accuracy",
                    metric_name=title,
                    metric_value=round(metrics[name], 4),
                )


def _body(adapter: Adapter, file_name: str) -> str:
    name, classes = pathlib.PurePath(file_name).stem, len(adapter.label_names)
    language = f" of the sign language `{adapter.language}`" if adapter.language else ""
    training = [(name.replace("_", " "), value) for name, value in adapter.training.items()]
    return "\n\n".join(
        (
            f"# {name}",
            f"Recognizes {classes} isolated signs{language} in video: adapters of DSTAdapter,"
            " for dstadapter_jax. Their frozen backbone is not in the file.",
            "## Use",
            f"    python -m dstadapter_jax.predict --adapter {file_name} clip.mp4",
            "From the hub: `--adapter hf:OWNER/REPO/FILE`. " + _backbone(adapter),
            "## Results",
            _results(adapter),
            "## Signs",
            ", ".join(html.escape(label, quote=False) for label in adapter.label_names),
            "## Training",
            _table(("", ""), [*_sizes(adapter), *training]),
            "## Limitations",
            "Every clip gets one of these labels, whatever it shows, often with high confidence."
            " Accuracy drops for people, places and cameras unlike those of the training clips.\n",
        )
    )


def _backbone(adapter: Adapter) -> str:
    backbone = adapter.backbone
    if bundled_path(backbone):
        return "The backbone comes with dstadapter_jax."
    if _hub_repository(adapter):
        return f"The backbone is fetched from `{backbone.source}`."
    return (
        f"The backbone is the file `{backbone.source}` with SHA-256 `{backbone.sha256}`: pass its"
        " path as `--backbone FILE`."
    )


def _results(adapter: Adapter) -> str:
    rows = []
    for split, metrics in adapter.metrics.items():
        values = [f"{metrics[name]:.4f}" if name in metrics else "" for name in FRACTIONS]
        rows.append((split, metrics.get("num_clips", ""), metrics.get("views", ""), *values))
    table = _table(("split", "clips", "views", *FRACTIONS.values()), rows)
    dataset = f"On `{adapter.config['data']['name']}`, at step {adapter.step}:"
    return f"{dataset}\n\n{table}" if rows else "This checkpoint has not been evaluated."


def _sizes(adapter: Adapter) -> Iterator[tuple[str, Any]]:
    model = adapter.model
    yield "frames", f"{model.num_frames} of {model.input_resolution}x{model.input_resolution}"
    yield "backbone", f"width {model.width}, {model.layers} layers, {model.heads} heads"
    yield "tune", adapter.config["tune"]


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
