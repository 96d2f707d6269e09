"""TFDS builders of isolated-sign datasets; `python -m tfds_builders --help` builds one."""
