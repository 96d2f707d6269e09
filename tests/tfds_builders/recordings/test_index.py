"""The folder of the recordings, and its layout."""

from tests.helpers.builds import run
from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.recordings import index, recordings_dataset_builder
from tfds_builders.sources import SourceError


def test_read_with_two_csvs_raises(source):
    put(source, ["a.csv", "b.csv"], b"path,label\n")
    with raises(SourceError, where=str(source), problem=("a.csv", "b.csv")):
        index.read(source)


def test_read_csv_without_rows_raises(source):
    put(source, ["list.csv"], b"path,label\n")
    with raises(SourceError, where="list.csv", problem="no clips found"):
        index.read(source)


def test_read_without_clips_raises(source):
    put(source, ["hello/notes.txt"], b"")
    with raises(SourceError, where=str(source), problem="no clips found"):
        index.read(source)


def recordings(folder):
    listing = recordings_dataset_builder.Builder(
        config="frames", data_dir=folder.parent / "out", file_format="array_record"
    ).listing(folder)
    return {clip.id for of in listing.found.values() for clip in of}, listing.warnings


def test_find_with_an_only_subfolder_returns_it(tmp_path):
    ids = [f"{label}/{i}.mp4" for label in ("bye", "hi") for i in range(3)]
    put(tmp_path / "in", [f"rec/{name}" for name in ids])
    put(tmp_path / "in", ["readme.txt", ".DS_Store"])
    said = f"the recordings are in {tmp_path / 'in/rec'}, not directly in {tmp_path / 'in'}"
    assert recordings(tmp_path / "in") == (set(ids), [said])
    assert recordings(tmp_path / "in" / "rec") == (set(ids), [])


def test_find_csv_one_level_down_or_up_returns_its_folder(tmp_path, capsys, mp4):
    rows = [f"clips/{label}{s}.mp4,{label},{s}" for label in "ab" for s in "ABC"]
    folder = tmp_path / "in" / "rec"
    put(folder, ["list.csv"], "\n".join(["path,label,signer", *rows]).encode())
    (folder / "clips").mkdir()
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(mp4)
    expected = {row.split(",")[0] for row in rows}
    for given in (tmp_path / "in", folder, folder / "clips"):
        found, warnings = recordings(given)
        assert found == expected
        said = [f"the recordings are in {folder}, not directly in {given}"]
        assert warnings == (said if given != folder else [])
    out = tmp_path / "data"
    arguments = ["recordings", "--manual_dir", str(folder / "clips"), "--data_dir", str(out)]
    assert run(arguments) == 0
    assert "splits: by signer" in capsys.readouterr().out


def test_find_with_one_label_returns_the_folder(tmp_path):
    """Without a CSV the folder above is not read: it may be anything."""
    put(tmp_path, ["home/hi/0.mp4", "home/bye/0.mp4"])
    put(tmp_path, ["home/budget.csv"], b"date,sum\n")
    assert index.find(tmp_path / "home/hi") == tmp_path / "home/hi"
    with raises(SourceError, problem="not in a folder named as its label"):
        index.read(tmp_path / "home/hi")
    put(tmp_path, [f"one/hi/{i}.mp4" for i in range(3)])
    assert index.find(tmp_path / "one") == tmp_path / "one"
