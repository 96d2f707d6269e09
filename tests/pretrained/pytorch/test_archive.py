"""Zip archives: truncated, overlapping, compressed and otherwise malformed."""

import io
import re
import struct
import zipfile

import numpy as np
import pytest

from dstadapter_jax.pretrained.pytorch import archive as archive_module
from dstadapter_jax.pretrained.pytorch.archive import Archive

ENTRIES = {"a/data.pkl": b"N.", "a/data/0": bytes(range(64)), "a/byteorder": b"little"}
END = 22  # bytes of the record at the end


def zipped(entries=ENTRIES, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def opened(content):
    return Archive(np.frombuffer(content, np.uint8))


def directory_offset(content):
    return struct.unpack_from("<I", content, len(content) - END + 16)[0]


def patched(content, offset, layout, *values):
    changed = bytearray(content)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


def test_archive_of_stored_entries_gives_their_bytes():
    archive = opened(zipped())
    assert (archive.folder, archive.names) == ("a", {"data.pkl", "data/0", "byteorder"})
    assert archive.read("data/0").tobytes() == ENTRIES["a/data/0"]
    with pytest.raises(ValueError, match="data/1"):
        archive.read("data/1")


@pytest.mark.parametrize("kept", [0, 1, 21, 40, 100, 200, -1, -END, -END - 1])
def test_archive_truncated_raises(kept):
    content = zipped()[:kept]
    with pytest.raises(ValueError, match=r"end of the archive|directory"):
        opened(content)


def test_archive_with_compressed_entries_raises_on_read():
    bomb = zipped({"a/data.pkl": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="compressed"):
        opened(bomb).read("data.pkl")


def test_archive_with_overlapping_entries_raises():
    content = zipped()
    second = content.index(b"PK\x01\x02", directory_offset(content) + 4)
    with pytest.raises(ValueError, match="overlaps"):
        opened(patched(content, second + 42, "<I", 0))  # the header of the first
    larger = patched(content, directory_offset(content) + 20, "<II", 60, 60)
    with pytest.raises(ValueError, match="overlaps"):
        opened(larger)


def test_archive_with_an_entry_named_twice_raises():
    content = zipped({"a/data.pkl": b"N.", "a/data.pk1": b"K\x01."})
    with pytest.raises(ValueError, match="twice"):
        opened(content.replace(b"data.pk1", b"data.pkl"))


@pytest.mark.parametrize("size", [10_000, 2**31])
def test_archive_with_an_entry_behind_the_data_raises(size):
    content = zipped({"a/data/0": b"x"})
    content = patched(content, directory_offset(content) + 20, "<II", size, size)
    with pytest.raises(ValueError, match="behind the data"):
        opened(content).read("data/0")


@pytest.mark.parametrize("field", [10, 12, 16])
@pytest.mark.parametrize("value", [0, 1, 2**16 - 1])
def test_archive_with_a_damaged_end_raises(field, value):
    content = zipped()
    with pytest.raises(ValueError, match="directory"):
        opened(patched(content, len(content) - END + field, "<H", value))


def test_archive_with_a_huge_directory_raises_before_it_is_read(monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(ValueError, match=re.escape("its directory claims")):
        opened(zipped())


def test_archive_with_64_bit_fields_gives_their_bytes():
    content = zipped({"a/data/0": b"abc"})
    start = directory_offset(content)
    entry = bytearray(content[start:-END])
    extra = struct.pack("<HHQQQ", 1, 24, 3, 3, 0)
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    directory = bytes(entry) + extra
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    wide = content[:start] + directory + end + locator + content[-END:]
    with zipfile.ZipFile(io.BytesIO(wide)) as file:  # the standard library agrees
        assert file.read("a/data/0") == b"abc"
    assert opened(wide).read("data/0").tobytes() == b"abc"
    with pytest.raises(ValueError, match="damaged"):
        opened(wide.replace(locator, struct.pack("<4sIQI", b"PK\6\7", 0, 2**60, 1)))
