"""Contact sheets show the input of the network, with texts of any kind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dstadapter_jax import browse
from dstadapter_jax.data.datasets import open_dataset
from dstadapter_jax.data.loader import train_batches, train_clips, view_batches
from dstadapter_jax.data.preprocess import make_views, preprocess_config
from dstadapter_jax.data.video.reader import read_frames
from dstadapter_jax.errors import UserError
from dstadapter_jax.visualization.browse import read_clips
from dstadapter_jax.visualization.contact_sheet import MARGIN, SheetRow, draw_sheet
from tests.helpers.errors import raises

# How ml_collections loads config files.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module.. method:DeprecationWarning")

ROOT = Path(__file__).parents[2]
SCALE = 4  # frames of 32 pixels are enlarged to at least 112


def pixels_of(path):
    return np.asarray(Image.open(path))


def strip_rows(sheet, view):
    """Top edges of all places where the sheet shows the frames (T, R, R, 3) side by side."""
    side = view.shape[1] * SCALE
    tiles = view.repeat(SCALE, 1).repeat(SCALE, 2)
    lefts = [MARGIN + place * (side + 4) for place in range(len(tiles))]
    return [
        y
        for y in range(len(sheet) - side)
        if all(
            np.array_equal(sheet[y : y + side, x : x + side], tile)
            for x, tile in zip(lefts, tiles, strict=True)
        )
    ]


def test_browse_of_train_draws_the_first_batch(config, config_file, tmp_path):
    sheet = tmp_path / "new" / "sheet.png"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "dstadapter_jax.browse", "--config", config_file),
            *("-o", str(sheet), "--num_clips=4", "--config.seed=5"),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    printed = json.loads(result.stdout)
    assert printed["sheet"] == str(sheet)
    dataset = open_dataset(config.data.name, config.data.dir)
    cfg = preprocess_config(config)
    clips = train_clips(dataset, cfg, batch_size=4, num_epochs=1, seed=5, decoder="pyav")
    batches = train_batches(clips, batch_size=4, num_threads=1)
    batch = next(batches)
    batches.close()
    pixels = pixels_of(sheet)
    places = [strip_rows(pixels, clip) for clip in batch["clip"]]
    assert [len(found) for found in places] == [1] * 4
    assert places == sorted(places)
    examples = {e["id"].decode(): e for e in dataset.source("train")}
    for clip, label in zip(printed["clips"], batch["label"], strict=True):
        example = examples[clip["id"]]
        assert clip["label"] == dataset.label_names[label] == f"sign {example['label']}"
        assert clip["signer"] == example["signer"].decode()


def test_read_clips_of_train_names_the_frames_it_shows(config, recordings):
    config.data.name = "recordings/original"
    config.preprocess.randaugment_layers = 0
    config.preprocess.crop_area = (1.0, 1.0)
    config.preprocess.flip_probability = 0.0
    cfg = preprocess_config(config)
    dataset = open_dataset(config.data.name, config.data.dir)
    for clip in read_clips(config, dataset, "train", 6):
        frames = read_frames(recordings / clip["id"], clip["indices"].tolist())
        # The random crop is the whole frame or, most often, its center square.
        crops = [
            make_views(frames, cfg, "train", np.random.default_rng(i))[0][0] for i in range(40)
        ]
        assert any(np.array_equal(crop, clip["views"][0]) for crop in crops)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_browse_of_other_splits_draws_every_scored_view(
    config, config_file, tmp_path, capsys, split
):
    path = tmp_path / "sheet.png"
    arguments = ["--config", config_file, f"--output={path}", f"--split={split}", "--num_clips=3"]
    assert browse.main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)["clips"]
    dataset = open_dataset(config.data.name, config.data.dir)
    ids = [example["id"].decode() for example in dataset.source(split)]
    assert [clip["id"] for clip in printed] == [ids[0], ids[4], ids[8]]
    (batch,) = view_batches(
        dataset,
        split,
        preprocess_config(config),
        batch_size=27,
        mode=split,
        decoder="pyav",
        num_threads=1,
    )
    pixels = pixels_of(path)
    shown = [
        strip_rows(pixels, clip)
        for clip, index, count in zip(batch["clip"], batch["index"], batch["count"], strict=True)
        if count and index in (0, 4, 8)
    ]
    assert len(shown) == {"validation": 3, "test": 9}[split]
    assert [len(found) for found in shown] == [1] * len(shown)
    assert shown == sorted(shown)


def test_browse_of_a_small_split_draws_all_clips_reproducibly(config_file, tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        assert browse.main(["--config", config_file, "-o", str(path), "--num_clips", "100"]) == 0
        assert len(json.loads(capsys.readouterr().out)["clips"]) == 27
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_draw_sheet_keeps_any_text_within_the_margins(tmp_path):
    texts = [
        *("", "a$^$_{", "şeker İı", "Ёж Й", "नमस्ते", "手語", "سلام", "🤟", "two\nlines\tand tabs"),
        *("e" + 40 * "\N{COMBINING ACUTE ACCENT}", "\udcff", "W" * 1000, "long words " * 100),
    ]
    views = np.zeros((1, 3, 8, 8, 3), np.uint8)
    rows = [SheetRow(text, text, [text] * 3, views) for text in texts]
    path = tmp_path / "sheet.png"
    draw_sheet(path, texts[-1], texts[-2], rows)
    sheet = pixels_of(path)
    assert sheet.shape[1] == 880 + 2 * MARGIN
    inside = sheet[MARGIN:-MARGIN, MARGIN:-MARGIN]
    inked = (inside < 255).any(axis=(0, 2))
    assert inked[0]
    assert inked[-20:].any(), "long texts use the whole width but for a letter"
    outside = sheet.copy()
    outside[MARGIN:-MARGIN, MARGIN:-MARGIN] = 255
    # A letter's edge may reach a pixel or two beyond its nominal width.
    assert (outside[:, MARGIN - 3 : 3 - MARGIN] == 255).sum() > 0
    assert (outside[:, : MARGIN - 3] == 255).all()
    assert (outside[:, 3 - MARGIN :] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output is needed"),
        (["-o", "x.png", "--split=val"], "value should be one of <train|validation|test>"),
        (["-o", "x.png", "--num_clips=0"], "num_clips"),
        (["-o", "x.png", "--num_clips=101"], "num_clips"),
        (["-o", "x.png", "more"], "unexpected more"),
        (["-o", "x.png", "--config.sed=1"], 'Did you mean "seed"'),
    ],
)
def test_browse_with_wrong_arguments_exits_with_2(config_file, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        browse.main(["--config", config_file, *arguments])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "python -m dstadapter_jax.browse" in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("option", "where"),
    [
        ("--output=sheet.jpg", "sheet.jpg"),
        ("--config.data.dir=nowhere", "config.data.dir"),
        ("--config.data.decoder=vlc", "config.data.decoder"),
        ("--config.preprocess.flip_probability=2.0", "preprocess.flip_probability"),
    ],
)
def test_browse_of_an_invalid_config_raises_and_draws_nothing(config_file, tmp_path, option, where):
    path = tmp_path / "sheet.png"
    with raises(UserError, where=where):
        browse.main(["--config", config_file, "-o", str(path), option])
    assert not path.exists()
