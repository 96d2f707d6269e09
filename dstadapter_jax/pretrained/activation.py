"""The activation that a backbone was trained with, by the configs published beside its weights.

Towers of the same sizes and names differ in it: OpenAI's, MetaCLIP's and DFN's have QuickGELU, most
of LAION's and DataComp's have GELU. The weights themselves do not show it.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dstadapter_jax.models.config import ACTIVATIONS
from dstadapter_jax.pretrained.sources import WeightsError, fetch_beside, parse_hub_source

logger = logging.getLogger(__name__)

# open_clip's file first: timm's repositories have both, and its config names the model only.
CONFIG_FILES = ("open_clip_config.json", "config.json")


def find_activation(source: str, revision: str | None = None) -> str:
    """Find the activation of a weight source.

    Args:
        source: Path, or `hf:OWNER/REPO[/FILE]`.
        revision: Revision of an `hf:` source.

    Returns:
        One of `ACTIVATIONS`, or '' if nothing states it.

    Raises:
        WeightsError: A config states an activation that the model does not have.
    """
    if hub := parse_hub_source(source):
        if hub.repo.startswith("openai/") or hub.repo.endswith(".openai"):
            return "quick_gelu"
        found = _hub_configs(source, revision)
    else:
        found = _local_configs(Path(source).expanduser())
    for place, config in found:
        if stated := _stated(config):
            if stated not in ACTIVATIONS:
                expected = f"an activation of {' or '.join(ACTIVATIONS)}"
                raise WeightsError(place, expected=expected, found=stated)
            return stated
    return ""


def resolve_activation(config: Any) -> None:
    """Set an empty `config.model.activation` to that of `config.pretrained`, and log doubts.

    Args:
        config: Config of a run; changed in place.

    Raises:
        WeightsError: The weights were trained with an activation that the model does not have.
    """
    given, source = config.model.activation, config.pretrained
    found = find_activation(source, config.pretrained_revision or None) if source else ""
    if source and not found and not given:
        logger.warning(
            "%s: no config found beside the weights states their activation; quick_gelu is used, as"
            " in OpenAI's. For weights of LAION or DataComp: --config.model.activation=gelu",
            source,
        )
    elif given and found and given != found:
        logger.warning(
            "%s was trained with %s, but config.model.activation is %s", source, found, given
        )
    config.model.activation = given or found or "quick_gelu"


def _local_configs(path: Path) -> Iterator[tuple[str, Any]]:
    for name in CONFIG_FILES:
        yield from _read(path.with_name(name))


def _hub_configs(source: str, revision: str | None) -> Iterator[tuple[str, Any]]:
    for name in CONFIG_FILES:
        if path := fetch_beside(source, name, revision):
            yield from _read(path)


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        yield str(path), json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # absent, or another kind of file
        return


def _stated(config: Any) -> str:
    """The activation that a config states; '' if it is of another kind."""
    if not isinstance(config, Mapping):
        return ""
    if isinstance(model := config.get("model_cfg"), Mapping):  # open_clip
        return "quick_gelu" if model.get("quick_gelu") else "gelu"
    if isinstance(config.get("vision_cfg"), Mapping):  # open_clip's model config alone
        return "quick_gelu" if config.get("quick_gelu") else "gelu"
    if isinstance(architecture := config.get("architecture"), str):  # timm
        return _of_timm(architecture, config.get("pretrained_cfg"))
    vision = config.get("vision_config")
    for part in (vision, config):  # Hugging Face
        if isinstance(part, Mapping) and isinstance(activation := part.get("hidden_act"), str):
            return activation
    # Hugging Face leaves out values that equal the default.
    return "quick_gelu" if "clip" in str(config.get("model_type", "")) else ""


def _of_timm(architecture: str, pretrained: Any) -> str:
    tag = pretrained.get("tag", "") if isinstance(pretrained, Mapping) else ""
    if re.search("quickgelu", architecture) or re.match(r"openai|metaclip|dfn", str(tag)):
        return "quick_gelu"
    return "gelu" if "clip" in architecture else ""
