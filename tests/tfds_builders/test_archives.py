"""Datasets in archives: the message has the commands that unpack them, and they work."""

import shutil
import struct
import subprocess
import zipfile

import pytest

from tests.helpers.builds import run
from tests.helpers.errors import raises
from tfds_builders.archives import unpack_hint
from tfds_builders.include import index as include


def zip_file(path, members, *, encrypted=False):
    """A zip file; `encrypted` marks it as such, as an archive with a password is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if not encrypted:
        return path
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            flags = struct.unpack_from("<H", data, at + place)[0]
            struct.pack_into("<H", data, at + place, flags | 1)
    path.write_bytes(data)
    return path


def split(path, size):
    """Cuts a file into .001, .002, …, as archives that come in parts are."""
    data = path.read_bytes()
    path.unlink()
    for number, start in enumerate(range(0, len(data), size), start=1):
        path.with_name(f"{path.name}.{number:03}").write_bytes(data[start : start + size])


def refused(dataset, folder, tmp_path):
    arguments = [dataset, "--manual_dir", str(folder), "--data_dir", str(tmp_path / "out")]
    with raises() as caught:
        run(arguments)
    return str(caught.value)


def test_build_of_downloaded_include_has_the_unpack_command(tmp_path):
    for name in ("Adjectives_1of8.zip", "Animals_1of2.zip"):
        zip_file(tmp_path / "in" / name, {"x/MVI_1.MOV": b"x"})
    message = refused("include/full", tmp_path / "in", tmp_path)
    assert "none of 4,284 clips found" in message
    assert "2 archive(s) lie there. To unpack them:" in message
    assert f"  cd {tmp_path}/in && 7z x '*.zip' '-o*'" in message
    assert "password" not in message


def test_build_with_some_archives_left_names_them(tmp_path):
    """Part of the clips is there: the missing ones are named, and why."""
    for of_split in ("train", "validation", "test"):
        path = tmp_path / "in" / include.listed("full", of_split)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    zip_file(tmp_path / "in" / "more of it" / "Animals_1of2.zip", {"x": b""})
    message = refused("include/full", tmp_path / "in", tmp_path)
    assert "4,281 clip(s) can't be read" in message
    assert f"  cd '{tmp_path}/in/more of it' && 7z x Animals_1of2.zip '-o*'" in message


def test_build_of_autsl_archives_names_passwords_and_parts(tmp_path):
    folder = tmp_path / "AUTSL"
    clip = {"train/": b"", "train/signer0_sample1_color.mp4": bytes(3000)}
    split(zip_file(folder / "train_set_vfbha39.zip", clip, encrypted=True), 1000)
    (folder / "train_set_vfbha39.zip.002").unlink()
    for name in ("validation_labels.zip", "test_labels.zip"):
        zip_file(folder / name, {"ground_truth.csv": b"a,1"}, encrypted=True)
    (folder / "train_labels.csv").write_text("signer0_sample1,41\r\n")
    message = refused("autsl/rgb", folder, tmp_path)
    assert "no labels of validation" in message
    facts = [
        line for line in message.splitlines() if line.startswith("  ") and "no labels" not in line
    ]
    password = "needs a password, which the dataset's authors give"
    assert facts == [
        f"  test_labels.zip: {password}",
        "  train_set_vfbha39.zip: 3 parts, unpacked together: name .001",
        "  train_set_vfbha39.zip: lacks part .002: download it first",
        f"  train_set_vfbha39.zip: {password}",
        f"  validation_labels.zip: {password}",
        f"  cd {folder} && 7z x '*.zip' '-o*'",
        f"  cd {folder} && 7z x train_set_vfbha39.zip.001 '-o*'",
    ]


def test_build_of_an_archive_file_names_archives_inside(tmp_path):
    path = zip_file(tmp_path / "bukva.zip", {"inner/trimmed.zip": b"", "annotations.tsv": b""})
    message = refused("bukva/trimmed", path, tmp_path)
    assert f"--manual_dir {path}: expected a folder of videos, found a file" in message
    assert "bukva.zip: contains archives, such as inner/trimmed.zip: unpack these" in message
    assert f"  cd {tmp_path} && 7z x bukva.zip '-o*'" in message


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("lsa64_cut.7z", "7z x lsa64_cut.7z '-o*'"),
        ("LSA64.RAR", "7z x LSA64.RAR '-o*'"),
        ("lsa64.tar.gz", "tar -xf lsa64.tar.gz"),
    ],
)
def test_build_of_other_kinds_of_archives_has_their_command(tmp_path, name, typed):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"not really one")
    message = refused("lsa64", tmp_path / "in", tmp_path)
    assert f"  cd {tmp_path}/in && {typed}\n" in f"{message}\n"
    assert f"{name}: " not in message
    assert ("7z is 7-Zip" in message) == ("7z x" in typed)


def test_build_of_recordings_archives_unpacks_in_place(tmp_path, caplog):
    caplog.set_level("INFO")
    zip_file(tmp_path / "in" / "videos.zip", {"hi/1.mp4": b""})
    message = refused("recordings", tmp_path / "in", tmp_path)
    assert "no clips found" in message
    assert f"  cd {tmp_path}/in && 7z x videos.zip\n" in message
    # Among clips it is not an error, but reported.
    for label in ("hi", "ho"):
        (tmp_path / "in" / label).mkdir()
        for i in range(3):
            (tmp_path / "in" / label / f"{i}.mp4").touch()
    refused("recordings", tmp_path / "in", tmp_path)
    assert "1 archive(s) lie there. To unpack them:" in caplog.text


def test_unpack_hint_without_archives_is_empty(tmp_path):
    assert unpack_hint([tmp_path / "zip", tmp_path / "a.zip.txt", tmp_path / "b.mp4"]) == ""


def test_unpack_hint_commands_unpack(tmp_path):
    """Typed with a real 7-Zip, where there is one: same names in two archives don't meet."""
    tool = shutil.which("7z") or shutil.which("7zz")
    if not tool:
        pytest.skip("no 7-Zip here")
    folder = tmp_path / "a folder"
    for name in ("validation_labels.zip", "test_labels.zip"):
        zip_file(folder / name, {"ground_truth.csv": name})
    split(zip_file(folder / "train_set.zip", {"train/clip.mp4": bytes(3000)}), 1000)
    for name in "ab":
        (tmp_path / name).write_text(name)
        subprocess.run(["tar", "-cf", folder / f"{name}.tar", "-C", tmp_path, name], check=True)
    for line in unpack_hint(folder.iterdir()).splitlines():
        if line.startswith("  cd "):
            typed = line.replace("7z", tool)
            subprocess.run(typed, shell=True, check=True, capture_output=True, cwd="/")
    assert [(folder / name).read_text() for name in "ab"] == ["a", "b"]
    assert (folder / "validation_labels/ground_truth.csv").read_text() == "validation_labels.zip"
    assert (folder / "test_labels/ground_truth.csv").read_text() == "test_labels.zip"
    assert [path.name for path in folder.rglob("clip.mp4")] == ["clip.mp4"]
