"""Configs of training runs: `common.py` defines every field, the others state the differences."""
