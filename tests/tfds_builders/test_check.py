"""The check before a build: real clips in the layouts of all five datasets, and both reports."""

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dstadapter_jax.data.video.reader import ClipError
from tests.helpers.builds import run
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.dataset_trees import autsl_source, bukva_rows, put, put_autsl, write_tsv
from tests.helpers.errors import raises
from tfds_builders import clip_examples, clip_shards
from tfds_builders.check.decoding import check_clip
from tfds_builders.clip_examples import Clip, encode_clip
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.include import index as include
from tfds_builders.listing import SPLITS
from tfds_builders.lsa64 import index as lsa64

ROOT = Path(__file__).parents[2]
NUM_FRAMES = 8


@pytest.fixture(scope="session")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("check") / "clip.mp4"
    write_clip(path, barcoded_frames(NUM_FRAMES, 48, 64), fps=25)
    return path.read_bytes()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "reports"


def unlike(mp4, number):
    """The same video in another file: an atom more at its end, which decoders pass over."""
    return mp4 + struct.pack(">I4sI", 12, b"free", number)


def check(dataset, source, out, *options, **builder_options):
    """Returns the exit status and the report that was written."""
    arguments = ["check", dataset, "--manual_dir", str(source), "--report", str(out)]
    status = run([*arguments, *options], **builder_options)
    (written,) = out.glob("*.json")
    return status, json.loads(written.read_text(encoding="utf-8"))


def builds(dataset, source, out, *options):
    arguments = [dataset, "--manual_dir", str(source), "--data_dir", str(out)]
    try:
        return run([*arguments, *options]) == 0
    except UnusableClipsError:
        return False


def texts(report, level):
    return [finding["text"] for finding in report["findings"] if finding["level"] == level]


def recordings(source, rows, mp4):
    """A CSV of `rows` of path, label, signer and split, and a file for each, none like another."""
    for number, row in enumerate(rows):
        put(source, [row.split(",")[0]], unlike(mp4, number))
    (source / "list.csv").write_text("\n".join(["path,label,signer,split", *rows]))


ROWS = [
    *("a.mp4,hi,anna,train", "b.mp4,hi,anna,train", "c.mp4,bye,anna,train"),
    *("d.mp4,hi,ben,validation", "e.mp4,hi,cem,test", "f.mp4,bye,cem,test"),
]


# Every dataset


def make_recordings(source, mp4):
    recordings(source, ROWS, mp4)
    return "recordings", 2, [3, 1, 2], [3, 1, 2], [1, 1, 1]


def make_include(source, mp4):
    names = [path for split in SPLITS for path in include.listed("include50", split)]
    for number, name in enumerate(names):
        put(source, [name], unlike(mp4, number))
    return "include/include50", 50, [689, 77, 192], [689, 77, 192], [0, 0, 0]


def make_autsl(source, mp4):
    autsl_source(source)
    clips = ["signer0_sample1", "signer0_sample2", "signer1_sample1", "signer6_sample1"]
    for number, clip in enumerate(clips):
        put(source, [f"{clip}_color.mp4"], unlike(mp4, number))
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
def test_every_dataset_is_checked_as_it_is_built(source, out, tmp_path, mp4, make, capsys):
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


def test_include_clips_that_nobody_has_are_no_fault(source, out, mp4):
    missing_word = "Days_and_Time/Second (Number)/"
    for number, name in enumerate(
        path for split in SPLITS for path in include.listed("full", split)[:40]
    ):
        if not name.startswith(missing_word):
            put(source, [name], unlike(mp4, number))
    _, report = check("include/full", source, out, "--max_missing", "0.999")
    never = [len(report["splits"][split]["unavailable"]) for split in SPLITS]
    assert never == [6, 1, 1]
    assert "train: 6 listed clips never published." in texts(report, "note")
    assert "Second (Number)" in report["splits"]["train"]["absent_labels"]


# The same verdict as a build's


def damaged(mp4):
    """Files with whatever may be wrong with them, and some with nothing."""
    rng = np.random.default_rng(0)
    yield from (mp4, b"", b"text", mp4[:100], mp4[: len(mp4) // 2], mp4[:-1], mp4 + b"x")
    for _ in range(60):
        start = int(rng.integers(len(mp4) - 40))
        yield mp4[:start] + rng.bytes(40) + mp4[start + 40 :]


def encoded(clip, storage):
    try:
        return "", encode_clip(clip, storage)
    except ClipError as error:
        return error.reason, {}


def test_a_clip_is_refused_for_the_reason_that_a_build_gives(tmp_path, mp4, monkeypatch):
    monkeypatch.setattr(clip_examples, "MAX_FRAMES", 12)
    long = tmp_path / "long.mp4"
    write_clip(long, barcoded_frames(13, 48, 64))
    segments = [None, (2, 5), (0, 8), (7, 8), (2, 9), (8, 8)]
    cases = [(data, None) for data in (*damaged(mp4), long.read_bytes())]
    cases += [(mp4, segment) for segment in segments]
    reasons = []
    for number, (data, segment) in enumerate(cases):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        clip = Clip(f"clip {number}", path, "hi", segment=segment)
        checked = check_clip("train", clip)
        found = checked.num_frames, checked.info.height, checked.info.width, checked.info.fps
        for storage in clip_examples.STORAGES:
            reason, example = encoded(clip, storage)
            # FFmpeg's own words, in brackets, may differ between a file and its bytes.
            assert checked.reason.partition(" (Inv")[0] == reason.partition(" (Inv")[0]
            fields = ("num_frames", "height", "width", "fps")
            assert reason or found == tuple(example[field] for field in fields)
        reasons.append(checked.reason)
    assert 10 < reasons.count("") < len(reasons) - 10
    assert any("13 frames, more than 12" in reason for reason in reasons)
    assert sum("the sign is said to be in frames" in reason for reason in reasons) == 2


def test_files_that_vanish_or_are_no_files(tmp_path):
    gone = Clip("gone", tmp_path / "gone.mp4", "hi")
    assert check_clip("train", gone).reason == "No such file or directory"
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would wait for ever
    pipe = Clip("pipe", tmp_path / "pipe.mp4", "hi")
    assert check_clip("train", pipe).reason == "is not a regular file"


@pytest.mark.parametrize(("bound", "status"), [("0.4", 0), ("0.39", 1), (None, 1)])
def test_the_bound_is_that_of_a_build(source, out, tmp_path, mp4, bound, status, capsys):
    """Of five training clips one is missing, one cut off."""
    rows = [f"signer0_sample{i},{i}" for i in range(1, 6)]
    autsl_source(source, "\r\n".join(rows).encode())
    for number, clip in enumerate([*rows, "signer1_sample1", "signer6_sample1"]):
        put(source, [f"{clip.split(',')[0]}_color.mp4"], unlike(mp4, number))
    (source / "signer0_sample2_color.mp4").unlink()
    put(source, ["signer0_sample5_color.mp4"], mp4[:500])
    options = ["--max_missing", bound] if bound else []
    found, report = check("autsl", source, out, *options)
    assert found == status
    assert "would NOT build" in capsys.readouterr().out or not status
    assert builds("autsl", source, tmp_path / "data", *options) == (not status)
    train = report["splits"]["train"]
    assert (train["listed"], train["found"], train["usable"]) == (5, 4, 3)
    assert (train["within_bound"], report["splits"]["test"]["within_bound"]) == (not status, True)
    unusable = [one["id"] for one in train["missing"] + train["unreadable"]]
    assert unusable == ["signer0_sample2", "signer0_sample5"]
    assert train["missing"][0]["reason"] == "no such file"
    assert "is not a video, is damaged" in train["unreadable"][0]["reason"]
    assert train["unreadable"][0]["path"] == "signer0_sample5_color.mp4"
    (text,) = texts(report, "error" if status else "warning")[:1]
    assert text.startswith("train: 40.00% of the clips are unusable (1 missing, 1 unreadable)")
    page = (out / "check_autsl_rgb.html").read_text(encoding="utf-8")
    assert ("Would not build" in page) == bool(status)


def test_recordings_may_lack_no_clip(source, out, tmp_path, mp4):
    recordings(source, ROWS, mp4)
    put(source, ["b.mp4"], b"")
    status, report = check("recordings", source, out)
    assert (status, report["max_missing"]) == (1, 0)
    assert not builds("recordings", source, tmp_path / "data")
    assert "is empty (0 bytes)" in report["splits"]["train"]["unreadable"][0]["reason"]
    assert texts(report, "error")[0].endswith("remove them.")


# What is found


def test_the_same_clip_in_two_splits_or_twice_in_one(source, out, mp4):
    recordings(source, ROWS, mp4)
    shutil.copy(source / "a.mp4", source / "e.mp4")  # train and test
    shutil.copy(source / "b.mp4", source / "c.mp4")  # both train; one is hi, one bye
    _, report = check("recordings", source, out)
    (across,), (within,) = report["copies"]["across_splits"], report["copies"]["within_split"]
    assert [(copy["id"], copy["split"]) for copy in across] == [
        ("a.mp4", "train"),
        ("e.mp4", "test"),
    ]
    assert [(copy["id"], copy["label"]) for copy in within] == [("b.mp4", "hi"), ("c.mp4", "bye")]
    warnings = texts(report, "warning")
    assert any("1 clip in several splits, as 2 ids" in text for text in warnings)
    assert "1 clip more than once in one split." in warnings
    assert "1 clip with several labels." in warnings


def test_clips_that_cannot_be_read_are_no_copies(source, out, mp4):
    recordings(source, ROWS, mp4)
    put(source, ["a.mp4", "e.mp4"], b"")
    _, report = check("recordings", source, out)
    assert report["copies"]["across_splits"] == []


def test_two_letters_of_one_recording_are_two_clips(source, out, mp4):
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    train = [row for row in rows if row[7] == "True"]
    for begin, row in enumerate(train):
        row[3] = str(begin)
    write_tsv(source, rows)
    put(source, [f"original/{row[0]}" for row in train], mp4)
    for number, row in enumerate(row for row in rows if row not in train):
        put(source, [f"original/{row[0]}"], unlike(mp4, number))
    _, report = check("bukva/original", source, out)
    assert report["copies"]["across_splits"] == report["copies"]["within_split"] == []
    train[1][3] = train[0][3]
    write_tsv(source, rows)
    _, report = check("bukva/original", source, out)
    ((first, second),) = report["copies"]["within_split"] + report["copies"]["across_splits"]
    assert {first["id"], second["id"]} == {train[0][0], train[1][0]}


def test_signers_in_two_splits(source, out, mp4):
    listed = lsa64.listed("random_80_20")
    for number, name in enumerate(list(listed)[-50:]):
        put(source, [f"{name}.mp4"], unlike(mp4, number))
    _, report = check("lsa64/random_80_20", source, out, "--max_missing", "0.99")
    splits_of = {}
    for name in list(listed)[-50:]:
        splits_of.setdefault(name.split("_")[1], set()).add(listed[name])
    shared = {signer: splits for signer, splits in splits_of.items() if len(splits) > 1}
    assert {signer: set(splits) for signer, splits in report["shared_signers"].items()} == shared
    assert shared
    assert any(f"{len(shared)} signers in several" in t for t in texts(report, "note"))


def test_balance_and_distributions(source, out, mp4):
    recordings(source, ROWS, mp4)
    write_clip(source / "a.mp4", barcoded_frames(1, 48, 64), fps=30)
    write_clip(source / "e.mp4", barcoded_frames(5, 48, 64), codec="mpeg4", fps=50, rotation=90)
    _, report = check("recordings", source, out)
    none = dict.fromkeys(SPLITS, 0)
    assert report["labels"] == {
        "bye": {"train": 1, "validation": 0, "test": 1},
        "hi": {"train": 2, "validation": 1, "test": 1},
    }
    assert report["splits"]["validation"]["absent_labels"] == ["bye"]
    assert "validation: 1 of 2 labels without a clip." in texts(report, "note")
    assert report["splits"]["train"]["one_frame"] == ["a.mp4"]
    assert "train: 1 clip of a single frame." in texts(report, "warning")
    usual = {"train": 2, "validation": 1, "test": 1}
    one_train, one_test = {**none, "train": 1}, {**none, "test": 1}
    assert list(report["properties"]["frames"].items()) == [
        ("1", one_train),
        ("5", one_test),
        ("8", usual),
    ]
    assert report["properties"]["codecs"] == {"h264": {**usual, "train": 3}, "mpeg4": one_test}
    assert report["properties"]["sizes"] == {"64x48": {**usual, "train": 3}, "48x64": one_test}
    assert report["properties"]["fps"] == {"25": usual, "30": one_train, "50": one_test}
    assert report["properties"]["rotations"] == {"0": {**usual, "train": 3}, "90": one_test}


def test_lists_that_are_cut_off_are_told(source, out, mp4, capsys):
    make_autsl(source, mp4)
    status, report = check("autsl", source, out, num_clips={"test": 3_742})
    assert (status, report["splits"]["test"]["num_unlisted"]) == (1, 3_741)
    (error,) = texts(report, "error")
    assert error.startswith("test: 99.97% of the clips are unusable (3,741 not listed), but only")
    warning = "test: 1 clips listed, 3,742 in the official split"
    assert warning in report["lists"]["warnings"]
    assert f"warning: {warning}\n" in capsys.readouterr().out


def test_clips_on_no_list_are_told(source, out, mp4):
    make_autsl(source, mp4)
    more = [f"train/signer0_sample{i}_color.mp4" for i in range(100, 107)]
    put(source, more)
    _, report = check("autsl", source, out)
    assert report["lists"]["unlisted"] == more
    (told,) = [text for text in texts(report, "warning") if "on no list" in text]
    assert told.startswith("7 clip(s) are on no list, and left out: train/signer0_sample100_color")
    assert more[-1] in Page(out / "check_autsl_rgb.html").shown


def test_the_folder_is_the_one_that_is_used(source, out, mp4):
    """Not the part of it that the user gave."""
    put_autsl(source, {"a": mp4})
    put(source, ["val/val/signer1_sample1_color.mp4"], b"")
    _, report = check("autsl", source / "train", out)
    assert report["folder"] == str(source)
    (unreadable,) = report["splits"]["validation"]["unreadable"]
    assert unreadable["path"] == "val/val/signer1_sample1_color.mp4"


# The page


class Page(HTMLParser):
    """Elements, the addresses they refer to, and the text that a reader sees."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.addresses, self.shown = set(), [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, name, attributes):
        self.elements.add(name)
        assert not [key for key, _ in attributes if key.startswith("on")]
        self.addresses += [value for key, value in attributes if key in ("href", "src")]

    def handle_data(self, text):
        self.shown += text


def test_names_from_outside_are_text_and_nothing_else(source, out, mp4, capsys):
    label, folder = "</td><script>alert(1)</script>", "<img src=x onerror=alert(1)>"
    ansi, entity = f"{folder}/\x1b[31m.mp4", f"{folder}/&amp;'.mp4"
    rows = [row.replace(",bye,", f",{label},") for row in ROWS]
    rows += [f"{ansi},hi,anna,train", f"{entity},a\u202eb,anna,train", "g.mp4,a\u202eb,cem,test"]
    recordings(source, rows, mp4)
    put(source, [ansi, entity], b"")
    _, report = check("recordings", source, out)
    page = Page(out / "check_recordings_frames.html")
    assert not page.elements & {"script", "img", "link", "iframe", "object"}
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    for name in (label, entity, f"{folder}/\\x1b[31m.mp4", "a\\u202eb"):
        assert name in page.shown
    assert "a\u202eb" in report["labels"], "the JSON has names as they are"
    assert "\x1b" not in capsys.readouterr().out


def test_ignored_files_may_have_names_that_are_not_utf8(source, out, mp4, capsys):
    for label in ("hi", "bye"):
        for number in range(3):
            put(source, [f"{label}/{number}.mp4"], unlike(mp4, number + 3 * (label == "hi")))
    Path(os.fsdecode(os.fsencode(source) + b"/hi/notes\xff.txt")).write_text("")
    _, report = check("recordings", source, out)
    assert report["lists"]["warnings"] == ["1 file(s) left out, no videos: hi/notes\udcff.txt"]
    assert "hi/notes\\udcff.txt" in capsys.readouterr().out
    assert "hi/notes\\udcff.txt" in Page(out / "check_recordings_frames.html").shown


def test_long_tables_are_cut_and_the_json_is_whole(source, out, mp4):
    put(source, ["064_009_005.mp4"], mp4)
    put(source, ["064_010_005.mp4"], b"")
    _, report = check("lsa64", source, out)
    assert len(report["splits"]["train"]["missing"]) == 2560
    path = out / "check_lsa64_signer_independent.html"
    shown = Page(path).shown
    assert "… and 2,999 more: the JSON file lists all." in shown
    assert "064_010_005.mp4" in shown, "the test split's, before the missing of train"
    assert shown.count("no such file") == 199 + 1  # and one that counts them
    assert path.stat().st_size < 100_000


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown dataset 'nothing'; one of: recordings, include"),
        (["lsa64/x"], "unknown config 'x' of lsa64; one of: signer_independent"),
        (["recordings", "--max_missing", "0.1"], "--max_missing has no effect on recordings"),
        (["lsa64", "--max_missing", "1"], "expected a share from 0 to below 1"),
        (["lsa64", "--data_dir", "x"], "unrecognized arguments: --data_dir"),
        (["lsa64", "--report", "{source}"], "which is only read: choose another folder"),
        (["lsa64", "--report", "{source}/in/it"], "which is only read: choose another folder"),
    ],
)
def test_wrong_use_exits_with_2(source, mp4, arguments, message, capsys):
    put(source, ["001_001_001.mp4"], mp4)
    given = [argument.format(source=source) for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        run(["check", *given, "--manual_dir", str(source)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in source.iterdir()] == ["001_001_001.mp4"]


def test_without_manual_dir(capsys):
    with pytest.raises(SystemExit) as caught:
        run(["check", "lsa64"])
    assert caught.value.code == 2
    assert "--manual_dir is needed. --manual_dir is the folder that" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_before_decoding(source, tmp_path, mp4):
    put(source, ["001_001_001.mp4"], mp4)
    (tmp_path / "file").write_text("")
    with raises(where=f"--report {tmp_path / 'file'}", found="File exists"):
        check("lsa64", source, tmp_path / "file")


def test_lists_that_are_wrong_are_told_as_by_a_build(source, out):
    put(source, ["signer0_sample1_color.mp4", "val_labels.zip"])
    with raises(problem="no labels of train", advice="7z x val_labels.zip"):
        check("autsl", source, out)
    with raises(where="nowhere", found="nothing"):
        check("autsl", source / "nowhere", out)


def test_the_command_is_quiet_and_reports_to_the_current_folder(source, out, mp4):
    recordings(source, ROWS, mp4)
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


def test_an_interrupt_does_not_wait_for_long_clips(monkeypatch):
    monkeypatch.setattr(clip_shards.os, "cpu_count", lambda: 2)
    started, released, finished = threading.Event(), threading.Event(), threading.Event()

    def decode(item):
        if item == "interrupted":
            started.wait(30)
            raise KeyboardInterrupt
        started.set()
        released.wait(30)
        finished.set()

    with contextlib.closing(clip_shards.map_in_threads(decode, ["interrupted", "long"])) as mapped:
        with pytest.raises(KeyboardInterrupt):
            next(mapped)
        assert not finished.is_set()
        released.set()
    assert finished.wait(30)
