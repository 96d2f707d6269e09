"""Datasets of a user's own recordings, built out of real mp4 files and read back."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from dstadapter_jax.data.video import reader as video
from tests.helpers.builds import run as run_command
from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.errors import raises
from tfds_builders import clip_builder, clip_shards
from tfds_builders.clip_examples import Clip
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.recordings import index, splits
from tfds_builders.sources import SourceError, files_below

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH, NUM_FRAMES = 48, 64, 4


@pytest.fixture(scope="session")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    write_clip(path, barcoded_frames(NUM_FRAMES, HEIGHT, WIDTH), fps=25)
    return path.read_bytes()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data"


def put(folder, names, content):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def two_labels(folder, content):
    put(folder, [f"{label}/{i}.mp4" for label in ("hello", "bye") for i in range(3)], content)


def build(dataset, source, out, *options):
    return run_command([dataset, "--manual_dir", str(source), "--data_dir", str(out), *options])


def data(out, config="frames"):
    return out / "recordings" / config / "1.0.0"


def read_back(folder):
    builder = tfds.builder_from_directory(folder)
    return builder.info, {split: list(builder.as_data_source(split)) for split in splits.SPLITS}


def ids(examples):
    return [example["id"].decode() for example in examples]


def clips(*signers_of_label, **counts):
    """Clips `LABEL/SIGNER/i` with `counts[LABEL]` or one a signer."""
    made = [
        Clip(f"{label}/{signer}/{i}", Path(), label, signer)
        for label, signers in signers_of_label
        for signer in signers
        for i in range(counts.get(label, 1))
    ]
    return sorted(made, key=lambda clip: clip.id)


def test_folder_of_labels_as_frames(source, out, mp4, caplog, capsys):
    caplog.set_level("INFO")
    two_labels(source, mp4)
    put(source, ["bye/deep/er/3.MOV", "bye/notes.txt", "readme.md"], mp4)
    put(source, [".hidden/x.mp4", "bye/.x.mp4", "bye/._0.mp4"], b"not a video")
    assert build("recordings", source, out) == 0
    info, examples = read_back(data(out))
    assert info.features["label"].names == ["bye", "hello"]
    every = [example for split in splits.SPLITS for example in examples[split]]
    assert sorted(ids(every)) == [
        *("bye/0.mp4", "bye/1.mp4", "bye/2.mp4", "bye/deep/er/3.MOV"),
        *("hello/0.mp4", "hello/1.mp4", "hello/2.mp4"),
    ]
    for example in every:
        assert example["label"] == int(example["id"].startswith(b"hello"))
        assert example["signer"] == b""
        assert (example["num_frames"], example["fps"]) == (NUM_FRAMES, 25)
        assert (example["height"], example["width"]) == (HEIGHT, WIDTH)
        assert len(example["frames"]) == NUM_FRAMES
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()] == [
        "2 file(s) left out, no videos: bye/notes.txt, readme.md"
    ]
    printed = capsys.readouterr().out
    assert "recordings/frames: 2 labels\n  train: 3 clips, signers: unknown\n" in printed
    assert "drawn for each label" in printed
    assert str(data(out)) in printed
    assert "drawn for each label" in info.metadata["split_method"]
    assert info.metadata["signers"] == {"train": [], "validation": [], "test": []}


def test_frames_are_the_source_shrunk(source, out):
    """Portrait, larger than what is stored; the decoded JPEGs are near the decoded video."""
    two_labels(source, b"")
    path = source / "bye/0.mp4"
    y, x = np.mgrid[:400, :302] / 2
    write_clip(
        path, np.stack([np.stack([y, x, x * 0 + 80 * i], -1) for i in range(3)]).astype("u1")
    )
    for other in {*source.glob("*/*.mp4")} - {path}:
        shutil.copy(path, other)
    assert build("recordings", source, out) == 0
    _, examples = read_back(data(out))
    example = examples["train"][0]
    assert (example["height"], example["width"]) == (400, 302)
    for jpeg, frame in zip(example["frames"], video.iter_frames(path), strict=True):
        stored = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1))[..., ::-1]
        expected = cv2.resize(frame, (256, 339), interpolation=cv2.INTER_LINEAR)
        assert stored.shape == expected.shape
        # JPEG rounds by half a gray level here; another frame or order of channels is 25 off.
        assert np.abs(stored.astype(float) - expected).mean() < 1
        table = jpeg.index(b"\xff\xdb") + 5
        assert jpeg[table + 63] == 10, "the last step of libjpeg's quality 95"


def test_original_keeps_the_bytes(source, out, mp4):
    two_labels(source, mp4)
    assert build("recordings/original", source, out) == 0
    info, examples = read_back(data(out, "original"))
    example = examples["test"][0]
    assert example["video"] == mp4
    assert (example["num_frames"], example["fps"]) == (NUM_FRAMES, 25)
    assert "frames" not in example
    assert info.features["label"].names == ["bye", "hello"]


def test_csv_with_bom_crlf_and_spaces(source, out, mp4):
    put(source, ["a b/ü.mp4", "x.mp4", "y.mp4", "left/out.mp4"], mp4)
    lines = [
        " path , label,signer ,split",
        " a b/ü.mp4 , 你好 , anna , train ",
        "",
        "./x.mp4,你好,ben,val",
        ",,,",
        '"y.mp4","你好",cem,test',
    ]
    (source / "list.CSV").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert build("recordings", source, out) == 0
    info, examples = read_back(data(out))
    assert {split: ids(of_split) for split, of_split in examples.items()} == {
        "train": ["a b/ü.mp4"],
        "validation": ["x.mp4"],
        "test": ["y.mp4"],
    }
    assert info.features["label"].names == ["你好"]
    assert examples["validation"][0]["signer"] == b"ben"
    assert info.metadata["split_method"] == "as in the CSV's column split"
    assert info.metadata["signers"] == {"train": ["anna"], "validation": ["ben"], "test": ["cem"]}


def test_csv_with_signers_is_split_by_signer(source, out, mp4, capsys):
    rows = [f"{s}{i}.mp4,{label},{s}" for s in "abcde" for i, label in enumerate(("hi", "bye"))]
    put(source, [row.split(",")[0] for row in rows], mp4)
    (source / "list.csv").write_text("\n".join(["path,label,signer", *rows]))
    assert build("recordings", source, out) == 0
    info, examples = read_back(data(out))
    signers = {split: {e["signer"].decode() for e in of} for split, of in examples.items()}
    assert {split: len(who) for split, who in signers.items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    assert set.union(*signers.values()) == set("abcde")
    assert info.metadata["signers"] == {split: sorted(who) for split, who in signers.items()}
    assert "splits: by signer" in capsys.readouterr().out


def test_signer_split_is_disjoint_repeatable_and_near_the_shares():
    labels = [(f"l{i}", [f"s{j}" for j in range(40) if (i + j) % 7]) for i in range(30)]
    some = clips(*labels)
    found = splits.by_signer(some)
    signers = [{clip.signer for clip in found[split]} for split in splits.SPLITS]
    assert sum(map(len, signers)) == len(set.union(*signers)) == 40
    assert sorted(clip.id for of in found.values() for clip in of) == [clip.id for clip in some]
    assert all({clip.label for clip in of} == {name for name, _ in labels} for of in found.values())
    # One signer is 2.5 % of the clips: a target is met to half of that.
    assert abs(len(found["test"]) / len(some) - 0.2) < 0.0125
    assert abs(len(found["validation"]) / len(some) - 0.1) < 0.0125
    again = splits.by_signer(some[::-1])
    assert {k: {c.id for c in v} for k, v in again.items()} == {
        k: {c.id for c in v} for k, v in found.items()
    }


def test_signer_split_prefers_every_label_in_every_split():
    """Only one division of these six signers has all labels everywhere: {a, b, c, d}, e, f."""
    some = clips(("x", "aef"), ("y", "bef"), ("z", "cef"), ("w", "def"))
    found, _ = splits.make(index.Recordings(some))
    held_out = {found[split][0].signer for split in ("validation", "test")}
    assert held_out == {"e", "f"}
    assert all({clip.label for clip in of} == set("wxyz") for of in found.values())


def test_label_draw_is_stratified_repeatable_and_independent_of_other_labels():
    some = clips(("few", ["u"]), ("many", ["u"]), few=3, many=30)
    found = splits.by_label(some)
    count = {
        split: [sum(clip.label == label for clip in of) for label in ("few", "many")]
        for split, of in found.items()
    }
    assert count == {"train": [1, 21], "validation": [1, 3], "test": [1, 6]}
    alone = splits.by_label([clip for clip in some if clip.label == "many"])
    for split, of in alone.items():
        assert of == [clip for clip in found[split] if clip.label == "many"]
    order = [int(clip.id.split("/")[-1]) for clip in alone["test"]]
    assert order != list(range(6)), "the first ones are not a draw"


CSV_ERRORS = {
    "rows": (
        """path,label,signer,split
a.mp4,hi,anna,train
gone.mp4,hi,anna,train
b.mp4,,anna,train
./a.mp4,hi,anna,train
../up.mp4,hi,anna,train
/etc/passwd,hi,anna,train
C:\\x.mp4,hi,anna,train
b.mp4,hi,,train
c.mp4,hi,anna,
d.mp4,hi,anna,dev
,hi,anna,train
d.mp4,hi,anna
"e.mp4","h
i",anna,train
""",
        [
            "line 3: no such file: gone.mp4",
            "line 4: no label",
            "line 5: same path as line 2: a.mp4",
            "line 6: path leaves the CSV's folder: ../up.mp4",
            "line 7: path leaves the CSV's folder: /etc/passwd",
            "line 8: path leaves the CSV's folder: C:\\x.mp4",
            "line 9: no signer; give it in all rows or in none",
            "line 9: same path as line 4: b.mp4",
            "line 10: no split; give it in all rows or in none",
            "line 11: unknown split 'dev'; valid: train, validation, val, test",
            "line 12: no path",
            "line 13: expected 4 fields, found 3",
            "line 15: 'h\\ni': line break in the name",
        ],
    ),
    "header": (
        "path,path,clas\n",
        ["unknown column 'clas'", "no column 'label'", "column 'path' twice"],
    ),
    "quote": ('path,label\n"a.mp4"x,hi\n', ["line 2: ',' expected after '\"'"]),
    "no rows": ("path,label\n", ["no clips found"]),
    "empty file": ("", ["no column 'path'", "no column 'label'"]),
    "given splits": (
        """path,label,signer,split
a.mp4,hi,anna,train
b.mp4,hi,anna,test
c.mp4,bye,ben,test
d.mp4,no,cem,train
""",
        [
            "no clip in validation",
            "label bye: only in test",
            "label no: only in train",
            "signer anna: in train and test",
        ],
    ),
    "never in train": (
        """path,label,split
a.mp4,hi,train
b.mp4,hi,test
c.mp4,bye,val
d.mp4,bye,test
""",
        ["label bye: only in validation and test"],
    ),
    "two signers": (
        "path,label,signer\na.mp4,hi,anna\nb.mp4,hi,ben\n",
        ["2 signer(s): anna, ben"],
    ),
    "label of one signer": (
        "path,label,signer\na.mp4,hi,anna\nb.mp4,hi,ben\nc.mp4,hi,cem\nd.mp4,bye,cem\n",
        ["label bye: only in"],
    ),
    "few clips": (
        "path,label\na.mp4,hi\nb.mp4,hi\nc.mp4,bye\n",
        ["bye: 1 clip(s)", "hi: 2 clip(s)"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), CSV_ERRORS.values(), ids=CSV_ERRORS)
def test_csv_errors_are_listed_at_once(source, text, problems):
    put(source, ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4"], b"")
    (source / "list.csv").write_text(text)
    (source.parent / "up.mp4").write_bytes(b"")
    with raises(SourceError) as caught:
        splits.make(index.read(source))
    for line, problem in zip(caught.value.problems, problems, strict=True):
        assert line.startswith(problem)


def test_csv_that_is_not_utf8(source):
    (source / "list.csv").write_bytes("path,label\na.mp4,grüß\n".encode("latin-1"))
    with raises(SourceError, where="list.csv", problem="not UTF-8"):
        index.read(source)


def test_two_csvs(source):
    put(source, ["a.csv", "b.csv"], b"path,label\n")
    with raises(SourceError, where=str(source), problem=("a.csv", "b.csv")):
        index.read(source)


def test_folder_errors_are_listed_at_once(source):
    put(source, ["top.mp4", "two\nlines/a.mp4", "hi/a.mp4"], b"")
    put(source, [os.fsdecode(b"latin\xfc/a.mp4")], b"")
    with raises(SourceError) as caught:
        index.read(source)
    assert sorted(caught.value.problems) == [
        "'latin\\udcfc/a.mp4': the name isn't UTF-8",
        "'two\\nlines/a.mp4': line break in the name",
        "top.mp4: not in a folder named as its label",
    ]


def test_folder_without_clips(source):
    put(source, ["hello/notes.txt"], b"")
    with raises(SourceError, where=str(source), problem="no clips found"):
        index.read(source)


def test_linked_folders_are_entered_and_loops_are_not(source, tmp_path):
    put(tmp_path / "elsewhere", ["a.mp4"], b"")
    put(source, ["bye/b.mp4"], b"")
    (source / "hello").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert [clip.id for clip in index.read(source).clips] == ["bye/b.mp4", "hello/a.mp4"]


@pytest.mark.parametrize("config", ["frames", "original"])
def test_unreadable_clips_are_all_named_and_the_old_dataset_stays(source, out, mp4, config):
    dataset = f"recordings/{config}"
    two_labels(source, mp4)
    assert build(dataset, source, out) == 0
    before = {path: path.read_bytes() for path in data(out, config).iterdir()}
    put(source, ["hello/0.mp4"], b"")
    put(source, ["bye/1.mp4"], mp4[: len(mp4) // 2])
    put(source, ["bye/2.mp4"], b"text")
    for options, target in ((["--overwrite"], out), ([], out.parent / "fresh")):
        with raises(UnusableClipsError, where=str(source), num_clips=3) as caught:
            build(dataset, source, target, *options)
        named = [problem.split(": ")[0] for problem in caught.value.problems]
        assert named == ["bye/1.mp4", "bye/2.mp4", "hello/0.mp4"]
    assert {path: path.read_bytes() for path in data(out, config).iterdir()} == before
    assert [path.name for path in data(out, config).parent.iterdir()] == ["1.0.0"]
    assert not data(out.parent / "fresh", config).exists()


def test_build_again_only_on_request(source, out, mp4, caplog):
    caplog.set_level("INFO")
    two_labels(source, mp4)
    assert build("recordings", source, out) == 0
    put(source, ["hello/new.mp4"], mp4)
    assert build("recordings", source, out) == 0
    assert "--overwrite builds it again" in caplog.text
    assert sum(map(len, read_back(data(out))[1].values())) == 6
    assert build("recordings", source, out, "--overwrite") == 0
    assert sum(map(len, read_back(data(out))[1].values())) == 7
    assert [path.name for path in data(out).parent.iterdir()] == ["1.0.0"]


def test_half_a_dataset_is_not_taken_for_one(source, out, mp4):
    two_labels(source, mp4)
    data(out).mkdir(parents=True)
    with raises(where=str(data(out)), expected="a complete dataset"):
        build("recordings", source, out)


def test_shards_hold_the_clips_in_order(source, out, mp4, monkeypatch):
    monkeypatch.setattr(clip_builder, "CLIPS_PER_SHARD", 2)
    put(source, [f"{label}/{i}.mp4" for label in ("hi", "ho") for i in range(5)], mp4)
    assert build("recordings", source, out) == 0
    info, examples = read_back(data(out))
    assert info.splits["train"].shard_lengths == [2, 2, 2]
    assert ids(examples["train"]) == sorted(ids(examples["train"]))


def test_threads_run_a_bounded_way_ahead():
    begun = []

    def negate(n):
        begun.append(n)
        return -n

    mapped = clip_shards.map_in_threads(negate, range(10_000))
    assert list(itertools.islice(mapped, 5)) == [0, -1, -2, -3, -4]
    del mapped  # closes it: no thread is left
    assert len(begun) <= 5 + (os.cpu_count() or 1) + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "are required: DATASET[/CONFIG]"),
        (["recordings", "recordings"], "unrecognized arguments: recordings"),
        (["recording"], "unknown dataset 'recording'; one of: recordings"),
        (["recordings/small"], "unknown config 'small' of recordings; one of: frames, original"),
        (["recordings"], "--manual_dir is needed"),
        (["recordings", "--num_shards", "3"], "unrecognized arguments: --num_shards"),
        (["recordings", "--color"], "unrecognized arguments: --color"),
    ],
)
def test_wrong_use_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_one_label_for_all_is_a_folder_too_high(source, out, mp4):
    put(source, [f"rec/{label}/{i}.mp4" for label in "ab" for i in range(3)], mp4)
    put(source, ["docs/notes.txt"], b"")
    with raises(SourceError, problem="one label for all 6 clips: rec"):
        build("recordings", source, out)


def test_a_signer_is_one_however_the_name_is_written(source, out, mp4):
    put(source, [f"{i}.mp4" for i in range(8)], mp4)
    names = ["Jose\u0301", "Jos\u00e9", "Anna", "Ben"]
    rows = [f"{i}.mp4,{'ab'[i // 4]},{names[i % 4]}" for i in range(8)]
    (source / "list.csv").write_text("\n".join(["path,label,signer", *rows]), encoding="utf-8")
    signers = {clip.signer for clip in index.read(source).clips}
    assert signers == {"Anna", "Ben", "Jos\u00e9"}


def test_a_folder_that_cannot_be_looked_into_is_told(source, monkeypatch):
    def refused(*arguments, onerror, **options):
        onerror(PermissionError(13, "Permission denied", str(source / "b")))
        yield from ()

    # Root may look into every folder, and tests may run as root.
    monkeypatch.setattr("os.walk", refused)
    with pytest.raises(PermissionError, match=r"Permission denied: .*/b"):
        list(files_below(source))


@pytest.mark.parametrize("empty", [["--data_dir", ""], ["--manual_dir="]])
def test_an_empty_argument_is_not_the_current_folder(source, empty, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command(["recordings", "--manual_dir", str(source), *empty])
    assert "an argument is empty" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "found"), [("", "an empty folder"), ("no", "nothing")])
def test_no_recordings_at_all(source, out, name, found):
    with raises(where=f"--manual_dir {source / name}", found=found):
        build("recordings", source / name, out)


def run(*arguments, tmp_path):
    """Runs Python; it exits at once if anything imports TensorFlow, installed or not."""
    trap = tmp_path / "path" / "tensorflow" / "__init__.py"
    put(tmp_path, [trap], b"raise SystemExit('TensorFlow was imported')")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(trap.parents[1]), str(ROOT)])}
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True
    )


def test_command_and_reading_back_in_fresh_processes(source, out, mp4, tmp_path):
    two_labels(source, mp4)
    options = ["--manual_dir", source, "--data_dir", out]
    done = run("-m", "tfds_builders", "recordings", *options, tmp_path=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "recordings/frames: 2 labels" in done.stdout
    reader = f"""
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory({str(data(out))!r})
clip = builder.as_data_source("train")[0]
names = builder.info.features["label"].names
import tfds_builders.__main__
print(json.dumps([names[clip["label"]], len(clip["frames"]), "tensorflow" in sys.modules]))
"""
    read = run("-c", reader, tmp_path=tmp_path)
    assert json.loads(read.stdout) == ["bye", NUM_FRAMES, False], read.stderr


def test_command_fails_with_a_message_and_no_trace(source, out, tmp_path):
    put(source, [f"{label}/{i}.mp4" for label in ("hi", "ho") for i in range(3)], b"text")
    options = ["--manual_dir", source, "--data_dir", out]
    failed = run("-m", "tfds_builders", "recordings", *options, tmp_path=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"\nerror: {source}: 6 clip(s) can't be read" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_blank_labels_are_refused_and_accents_are_written_one_way(source, out, mp4):
    put(source, [f" /{i}.mp4" for i in range(3)] + [f"a/{i}.mp4" for i in range(3)], mp4)
    with raises(SourceError, problem="the folder's name, its label, is blank"):
        build("recordings", source, out)
    shutil.rmtree(source / " ")
    put(source, ["cafe\u0301/0.mp4", "cafe\u0301/1.mp4", "caf\u00e9/2.mp4"], mp4)
    assert {clip.label for clip in index.read(source).clips} == {"a", "caf\u00e9"}
