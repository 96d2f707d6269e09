"""docs/config_reference.md against configs/common.py."""

import pathlib
import re

from ml_collections import ConfigDict

from configs import common

PAGE = pathlib.Path(__file__).parents[2] / "docs/config_reference.md"


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, str]:
    fields = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= flatten(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = repr(value)
    return fields


def test_config_reference_table_lists_every_field_with_its_default():
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    assert len(dict(rows)) == len(rows)
    assert dict(rows) == flatten(common.get_config())
