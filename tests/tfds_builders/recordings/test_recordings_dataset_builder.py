"""Datasets of recordings, built from real videos and read back."""

import tempfile

import numpy as np
import pytest
from PIL import Image

from dstadapter_jax.data.records import FrameReader
from tests.helpers.builds import build, build_by_id, clip_ids, read_back, read_metadata
from tests.helpers.checks import check
from tests.helpers.clips import barcoded_frames, read_barcode, write_clip
from tests.helpers.dataset_trees import put, put_labels
from tests.helpers.errors import raises
from tests.tfds_builders.conftest import HEIGHT, NUM_FRAMES, WIDTH
from tfds_builders.excluded import UnusableClipsError
from tfds_builders.recordings import splits


def data(out, config="frames"):
    return out / "recordings" / config / "1.0.0"


def test_build_folders_of_labels_stores_frames(source, out, mp4, caplog, capsys):
    caplog.set_level("INFO")
    put_labels(source, mp4)
    put(source, ["bye/deep/er/3.MOV", "bye/notes.txt", "readme.md"], mp4)
    put(source, [".hidden/x.mp4", "bye/.x.mp4", "bye/._0.mp4"], b"not a video")
    assert build("recordings", source, out) == 0
    info, examples = read_back(out, "recordings/frames")
    assert info.features["label"].names == ["bye", "hello"]
    every = [example for split in splits.SPLITS for example in examples[split]]
    assert sorted(clip_ids(every)) == [
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


def test_build_original_stores_the_bytes_of_files(source, out, mp4):
    put_labels(source, mp4)
    assert build("recordings/original", source, out) == 0
    info, examples = read_back(out, "recordings/original")
    example = examples["test"][0]
    assert example["video"] == mp4
    assert (example["num_frames"], example["fps"]) == (NUM_FRAMES, 25)
    assert "frames" not in example
    assert info.features["label"].names == ["bye", "hello"]


def test_build_csv_with_bom_crlf_and_spaces_reads_rows(source, out, mp4):
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
    info, examples = read_back(out, "recordings/frames")
    assert {split: clip_ids(of_split) for split, of_split in examples.items()} == {
        "train": ["a b/ü.mp4"],
        "validation": ["x.mp4"],
        "test": ["y.mp4"],
    }
    assert info.features["label"].names == ["你好"]
    assert examples["validation"][0]["signer"] == b"ben"
    assert info.metadata["split_method"] == "as in the column split"
    assert info.metadata["signers"] == {"train": ["anna"], "validation": ["ben"], "test": ["cem"]}


def test_build_csv_with_signers_splits_by_signer(source, out, mp4, capsys):
    rows = [f"{s}{i}.mp4,{label},{s}" for s in "abcde" for i, label in enumerate(("hi", "bye"))]
    put(source, [row.split(",")[0] for row in rows], mp4)
    (source / "list.csv").write_text("\n".join(["path,label,signer", *rows]))
    assert build("recordings", source, out) == 0
    info, examples = read_back(out, "recordings/frames")
    signers = {split: {e["signer"].decode() for e in of} for split, of in examples.items()}
    assert {split: len(who) for split, who in signers.items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    assert set.union(*signers.values()) == set("abcde")
    assert info.metadata["signers"] == {split: sorted(who) for split, who in signers.items()}
    assert "splits: by signer" in capsys.readouterr().out


@pytest.mark.parametrize("config", ["frames", "original"])
def test_build_unreadable_clips_names_all_and_keeps_the_old_dataset(source, out, mp4, config):
    dataset = f"recordings/{config}"
    put_labels(source, mp4)
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


@pytest.fixture
def long_video(source):
    """A video of 50 seconds, two frames a second, with a key frame every 10 seconds."""
    options = {"g": "20", "keyint_min": "20", "sc_threshold": "0", "bf": "2"}
    write_clip(source / "long.mp4", barcoded_frames(100, 64, 96), fps=2, options=options)
    return source / "long.mp4"


SEGMENTS = {  # start, end, and the frames between them
    "train": ("0,2", range(4)),
    "validation": ("30.5,0:33", range(61, 66)),
    "test": ("45,", range(90, 100)),
}


@pytest.mark.parametrize("storage", ["frames", "original"])
def test_build_segments_of_a_long_video_stores_their_frames(source, out, long_video, storage):
    rows = [f"long.mp4,hi,{split},{times}" for split, (times, _) in SEGMENTS.items()]
    (source / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    _, examples = build_by_id(f"recordings/{storage}", source, out)
    for split, (_, numbers) in SEGMENTS.items():
        (example,) = examples[split].values()
        assert example["num_frames"] == len(numbers)
        reader = FrameReader(example, "pyav")
        found = reader(np.arange(example["num_frames"]))
        assert [read_barcode(frame) for frame in found] == list(numbers)


@pytest.mark.parametrize("times", ["10,60", "55,", "49.9,80"])
def test_build_segment_beyond_the_end_is_unusable(source, out, long_video, times):
    segments = {"train": "0,1", "validation": "1,2", "test": times}
    rows = [f"long.mp4,hi,{split},{times}" for split, times in segments.items()]
    (source / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    with raises(UnusableClipsError, num_clips=1, problem="ends at 49.5 seconds"):
        build("recordings", source, out)


def test_build_frame_segments_exclude_the_end(source, out, long_video):
    rows = ["long.mp4,hi,train,0,5", "long.mp4,hi,val,97,", "long.mp4,hi,test,10,11"]
    (source / "list.csv").write_text("\n".join(["path,label,split,start_frame,end_frame", *rows]))
    _, examples = build_by_id("recordings/original", source, out)
    counts = {split: [int(e["num_frames"]) for e in of.values()] for split, of in examples.items()}
    assert counts == {"train": [5], "validation": [3], "test": [1]}


def test_build_with_max_missing_excludes_and_counts_clips(source, out, mp4):
    put(source, [f"{i}.mp4" for i in range(6)], mp4)
    put(source, ["5.mp4"], b"damaged")
    splits_of = ["train", "train", "train", "val", "test", "train", "train"]
    rows = [f"{i}.mp4,hi,{split}" for i, split in enumerate(splits_of)]
    (source / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    with raises(UnusableClipsError, num_clips=1):  # 6.mp4, found before any clip is decoded
        build("recordings", source, out)
    assert build("recordings", source, out, "--max_missing=0.5") == 0
    missing = read_metadata(out, "recordings/frames")["missing"]["train"]
    assert sorted(missing) == ["5.mp4", "6.mp4"]


def test_build_with_given_splits_keeps_their_caveats(source, out, mp4, capsys):
    put(source, [f"{i}.mp4" for i in range(3)], mp4)
    rows = ["0.mp4,hi,ann,train", "1.mp4,hi,ann,val", "2.mp4,hi,ann,test"]
    (source / "list.csv").write_text("\n".join(["path,label,signer,split", *rows]))
    assert build("recordings", source, out) == 0
    method = read_metadata(out, "recordings/frames")["split_method"]
    assert method.startswith("as in the column split; 1 signer(s) in several splits")
    assert f"splits: {method}" in capsys.readouterr().out


def test_build_leaves_no_temporary_folders(source, out, mp4, tmp_path, monkeypatch):
    put_labels(source, mp4)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert build("recordings", source, out) == 0
    assert not list(temporary.iterdir())


def test_build_segment_times_are_those_of_frames_to_the_millisecond(source, out):
    """Times of frames, 1/30 s apart, as people and programs round them."""
    options = {"g": "10", "bf": "2"}
    write_clip(source / "c.ts", barcoded_frames(60, 64, 96), fps=30, options=options)
    segments = {"train": "0.333,0.667", "validation": "0.9333,1.2333", "test": "1.1,1.1333"}
    rows = [f"c.ts,hi,{split},{times}" for split, times in segments.items()]
    (source / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    _, examples = build_by_id("recordings/original", source, out)
    found = {
        split: (int(one["first_frame"]), int(one["num_frames"]))
        for split, of in examples.items()
        for one in of.values()
    }
    assert found == {"train": (10, 10), "validation": (28, 9), "test": (33, 1)}


def test_build_segment_between_two_frames_is_unusable(source, out, long_video):
    segments = {"train": "0,1", "validation": "1,2", "test": "3.1,3.2"}
    rows = [f"long.mp4,hi,{split},{times}" for split, times in segments.items()]
    (source / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    with raises(UnusableClipsError, num_clips=1, problem="no frame is shown between"):
        build("recordings", source, out)


def test_build_late_segment_of_a_stream_with_one_key_frame(source, out):
    """Seeking finds no key frame: all is decoded."""
    options = {"g": "999", "keyint_min": "999", "sc_threshold": "0", "bf": "0"}
    write_clip(source / "c.ts", barcoded_frames(100, 64, 96), fps=2, options=options)
    rows = ["c.ts,hi,train,0,1", "c.ts,hi,val,1,2", "c.ts,hi,test,40,41"]
    (source / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    _, examples = build_by_id("recordings/frames", source, out)
    (example,) = examples["test"].values()
    assert [read_barcode(x) for x in FrameReader(example, "pyav")(np.arange(2))] == [80, 81]


@pytest.mark.parametrize("storage", ["frames", "original"])
def test_build_folders_of_pictures_stores_their_frames(source, out, storage):
    for label in "ab":
        for take in range(3):
            folder = source / label / f"take {take}"
            folder.mkdir(parents=True)
            for number, pixels in enumerate(barcoded_frames(5 + take, 64, 96)):
                Image.fromarray(pixels).save(folder / f"{number + 1:05}.png")
    assert build(f"recordings/{storage}", source, out) == 0
    _, examples = read_back(out, f"recordings/{storage}")
    every = [example for of in examples.values() for example in of]
    assert sorted(clip_ids(every)) == [
        f"{label}/take {take}" for label in "ab" for take in range(3)
    ]
    for example in every:
        count = 5 + int(example["id"].decode()[-1])
        assert (example["num_frames"], example["fps"]) == (count, 25)
        found = FrameReader(example, "pyav")(np.arange(count))
        assert [read_barcode(frame) for frame in found] == list(range(count))
    status, report = check(f"recordings/{storage}", source, out / "report")
    assert status == 0
    copies = report["copies"]["across_splits"] + report["copies"]["within_split"]
    assert len(copies) == 3  # each take is the same in both labels
