"""The command `python -m tfds_builders check`, on layouts of all datasets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.builds import run
from tests.helpers.checks import ROWS, builds, check
from tests.helpers.dataset_trees import (
    bukva_rows,
    put,
    put_listed,
    put_small_autsl,
    unlike,
    write_tsv,
)
from tests.helpers.errors import raises
from tests.tfds_builders.conftest import NUM_FRAMES
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64

ROOT = Path(__file__).parents[3]


def make_recordings(source, mp4):
    put_listed(source, ROWS, mp4)
    return "recordings", 2, [3, 1, 2], [3, 1, 2], [1, 1, 1]


def make_include(source, mp4):
    names = [path for split in SPLITS for path in include.listed("include50", split)]
    for number, name in enumerate(names):
        put(source, [name], unlike(mp4, number))
    return "include/include50", 50, [689, 77, 192], [689, 77, 192], [0, 0, 0]


def make_autsl(source, mp4):
    put_small_autsl(source, mp4)
    return "autsl", 226, [2, 1, 1], [2, 1, 1], [1, 1, 1]


def make_bukva(source, mp4):
    rows = bukva_rows(3, 1)
    write_tsv(source, rows)
    for number, row in enumerate(rows):
        put(source, [f"original/{row[0]}"], unlike(mp4, number))
    return "bukva/original-upstream", 33, [33, 33, 33], [33, 33, 33], [1, 1, 1]


def make_lsa64(source, mp4):
    names = lsa64.listed("signer_independent")
    last = list(names)[-50:]  # the last sign, by all signers
    for number, name in enumerate(last):
        put(source, [f"{name}.mp4"], unlike(mp4, number))
    return "lsa64/signer_independent", 64, [2560, 320, 320], [40, 5, 5], [8, 1, 1]


@pytest.mark.parametrize(
    "make", [make_recordings, make_include, make_autsl, make_bukva, make_lsa64]
)
def test_check_of_every_dataset_reports_as_a_build(source, out, tmp_path, mp4, make, capsys):
    dataset, num_labels, listed, found, signers = make(source, mp4)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    options = ["--max_missing", "0.99"] if listed != found else []
    status, report = check(dataset, source, out, *options)
    printed = capsys.readouterr().out
    splits = [report["splits"][split] for split in SPLITS]
    assert [split["listed"] for split in splits] == listed
    assert [split["found"] for split in splits] == found
    assert [split["usable"] for split in splits] == found
    assert [split["signers"] for split in splits] == signers
    assert len(report["labels"]) == num_labels
    missing = [len(split["missing"]) for split in splits]
    assert missing == [all_of - here for all_of, here in zip(listed, found, strict=True)]
    assert report["copies"]["across_splits"] == report["copies"]["within_split"] == []
    assert sum(of[split] for of in report["labels"].values() for split in SPLITS) == sum(found)
    frames = 4 if dataset.startswith("bukva") else NUM_FRAMES  # begin and end are 2 and 5
    assert report["properties"]["frames"] == {str(frames): dict(zip(SPLITS, found, strict=True))}
    for kind, value in (("sizes", "64x48"), ("codecs", "h264"), ("fps", "25"), ("rotations", "0")):
        assert list(report["properties"][kind]) == [value]
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
    name = report["dataset"].replace("/", "_")
    reports = {out / f"check_{name}.{suffix}" for suffix in ("html", "json")}
    assert set(out.iterdir()) == reports
    assert all(f"report: {path}\n" in printed for path in reports)
    assert f"{report['dataset']}: would build\n" in printed
    assert (status, report["would_build"]) == (0, True)
    if sum(found) < 100:  # to build hundreds of clips takes long
        assert builds(dataset, source, tmp_path / "data", *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown dataset 'nothing'; one of: recordings, include"),
        (["lsa64/x"], "unknown config 'x' of lsa64; one of: signer_independent"),
        (["lsa64", "--layout", "label"], "--layout has no effect on lsa64"),
        (["lsa64", "--max_missing", "1"], "expected a share from 0 to below 1"),
        (["lsa64", "--data_dir", "x"], "unrecognized arguments: --data_dir"),
        (["lsa64", "--report", "{source}"], "which is only read: choose another folder"),
        (["lsa64", "--report", "{source}/in/it"], "which is only read: choose another folder"),
    ],
)
def test_main_wrong_use_exits_with_2(source, mp4, arguments, message, capsys):
    put(source, ["001_001_001.mp4"], mp4)
    given = [argument.format(source=source) for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        run(["check", *given, "--manual_dir", str(source)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in source.iterdir()] == ["001_001_001.mp4"]


def test_main_without_manual_dir_exits_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        run(["check", "lsa64"])
    assert caught.value.code == 2
    assert "--manual_dir is needed. --manual_dir is the folder that" in capsys.readouterr().err


def test_main_unwritable_report_raises_before_decoding(source, tmp_path, mp4):
    put(source, ["001_001_001.mp4"], mp4)
    (tmp_path / "file").write_text("")
    with raises(where=f"--report {tmp_path / 'file'}", found="File exists"):
        check("lsa64", source, tmp_path / "file")


def test_main_wrong_lists_or_folder_raises(source, out):
    put(source, ["signer0_sample1_color.mp4", "val_labels.zip"])
    with raises(problem="no labels of train", advice="7z x val_labels.zip"):
        check("autsl", source, out)
    with raises(where="nowhere", found="nothing"):
        check("autsl", source / "nowhere", out)


def test_command_is_quiet_and_reports_to_the_current_folder(source, out, mp4):
    put_listed(source, ROWS, mp4)
    put(source, ["a.mp4"], b"")
    out.mkdir()
    arguments = [sys.executable, "-m", "tfds_builders", "check", "recordings/original"]
    done = subprocess.run(
        [*arguments, "--manual_dir", str(source)],
        cwd=out,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("recordings/original: would NOT build\n  train: 2 of 3 listed")
    reports = {f"check_recordings_original.{suffix}" for suffix in ("html", "json")}
    assert {path.name for path in out.iterdir()} == reports
