"""Files below a folder."""

import pytest

from tfds_builders.sources import files_below


def test_files_below_a_folder_that_cannot_be_listed_raises(source, monkeypatch):
    def refused(*arguments, onerror, **options):
        onerror(PermissionError(13, "Permission denied", str(source / "b")))
        yield from ()

    # Root may look into every folder, and tests may run as root.
    monkeypatch.setattr("os.walk", refused)
    with pytest.raises(PermissionError, match=r"Permission denied: .*/b"):
        list(files_below(source))
