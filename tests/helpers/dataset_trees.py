"""Folders like those that the published datasets are unpacked into."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from tests.helpers.clips import barcoded_frames, write_clip
from tfds_builders.include import index as include
from tfds_builders.lsa64 import index as lsa64

FAST = {"preset": "ultrafast"}
COLUMNS = ["attachment_id", "user_id", "text", "begin", "end", "height", "width", "train", "length"]
LETTERS = "ЁАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"


def put(folder: Path, names: Iterable[str], content: bytes = b"") -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_clips(folder: Path) -> dict[str, bytes]:
    """One clip a dataset, in its codec, size and frame rate: the files' bytes by name."""
    mpeg4, h264, mov, portrait, uncut, phone = (
        folder / name for name in ("a.mp4", "l.mp4", "i.mov", "b.mp4", "o.mp4", "phone.mp4")
    )
    write_clip(mpeg4, barcoded_frames(5, 512, 512), codec="mpeg4")
    large = barcoded_frames(3, 1080, 1920)
    write_clip(h264, large, fps=Fraction(60_000, 1_001), options=FAST)
    write_clip(mov, large, fps=25, options=FAST)
    write_clip(portrait, barcoded_frames(4, 1920, 1080), options=FAST)
    write_clip(uncut, barcoded_frames(8, 320, 180), options=FAST)
    # Held upright, stored lying, and slower where it was dark.
    write_clip(phone, large, pts=[0, 1, 3], rotation=270, options=FAST)
    return {path.stem: path.read_bytes() for path in (mpeg4, h264, mov, portrait, uncut, phone)}


def autsl_source(
    folder: Path, train: bytes = b"signer0_sample1,41\r\nsigner0_sample2, 2 \r\n"
) -> Path:
    put(folder, ["train_labels.csv"], train)
    put(folder, ["val_labels.csv"], b"signer1_sample1,3\r\n")
    put(folder, ["test_labels.csv"], b"signer6_sample1,4")
    return folder


def bukva_rows(num_users: int = 20, test_users: int = 4) -> list[list[str]]:
    """A clip of each letter by each user, the last ones for test; `begin` and `end` are 2 and 5."""
    return [
        [f"id-{user}-{n}", f"user{user}", letter, "2", "5", "1920", "1080", train, "8"]
        for user in range(num_users)
        for n, letter in enumerate(LETTERS)
        for train in [str(user < num_users - test_users)]
    ]


def write_tsv(folder: Path, rows: list[list[str]], header: list[str] = COLUMNS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join("\t".join(row) for row in [header, *rows])
    (folder / "annotations.tsv").write_text(text)


def put_autsl(folder: Path, clips: Mapping[str, bytes]) -> None:
    """2 clips to train on, 1 and 1; depth videos beside them."""
    autsl_source(folder)
    names = ["train/train/signer0_sample1", "train/train/signer0_sample2"]
    names += ["val/val/signer1_sample1", "test/test/signer6_sample1"]
    put(folder, [f"{name}_color.mp4" for name in names], clips["a"])
    put(folder, [f"{name}_depth.mp4" for name in names], b"must not be read")


def put_include(folder: Path, clips: Mapping[str, bytes]) -> None:
    """3 clips to train on, 1 and 1: folders with spaces and dots, one deeper, one unnumbered."""
    paths = include.listed("full", "train")
    paths = [next(path for path in paths if part in path) for part in ("/Extra/", "/Ex. ", ". ")]
    paths += [include.listed("full", split)[0] for split in ("validation", "test")]
    put(folder, paths, clips["i"])


def put_bukva(folder: Path, clips: Mapping[str, bytes]) -> None:
    """2 clips a split, from a phone, without extension."""
    rows = [row for row in bukva_rows(3, 1) if row[2] in "ЁЯ"]
    write_tsv(folder, rows)
    put(folder, [f"trimmed/{row[0]}" for row in rows], clips["phone"])


def put_lsa64(folder: Path, clips: Mapping[str, bytes]) -> None:
    """2 clips to train on, 1 and 1."""
    listed = lsa64.listed("signer_independent")
    names = {split: [n for n, s in listed.items() if s == split] for split in set(listed.values())}
    chosen = names["train"][-2:] + names["validation"][-1:] + names["test"][-1:]
    put(folder, [f"lsa64_cut/all_cut/{name}.mp4" for name in chosen], clips["l"])


def put_labels(folder: Path, content: bytes) -> None:
    """Three clips of each of two labels, in folders."""
    put(folder, [f"{label}/{i}.mp4" for label in ("hello", "bye") for i in range(3)], content)


def unlike(mp4: bytes, number: int) -> bytes:
    """The same video in another file: with one more atom at its end, which decoders ignore."""
    return mp4 + struct.pack(">I4sI", 12, b"free", number)


def put_listed(folder: Path, rows: Sequence[str], mp4: bytes) -> None:
    """A CSV of `rows` of path, label, signer and split, and a file for each, all different."""
    for number, row in enumerate(rows):
        put(folder, [row.split(",")[0]], unlike(mp4, number))
    (folder / "list.csv").write_text("\n".join(["path,label,signer,split", *rows]))


def put_small_autsl(folder: Path, mp4: bytes) -> None:
    """AUTSL with 2 training clips, 1 and 1, all different."""
    autsl_source(folder)
    clips = ["signer0_sample1", "signer0_sample2", "signer1_sample1", "signer6_sample1"]
    for number, clip in enumerate(clips):
        put(folder, [f"{clip}_color.mp4"], unlike(mp4, number))
