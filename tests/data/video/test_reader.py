import builtins
import contextlib
import gc
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest

from dstadapter_jax.data.video import reader as video
from dstadapter_jax.data.video.decoding import VideoInfo
from dstadapter_jax.data.video.reader import ClipError, iter_frames, probe, read_frames
from tests.helpers.clips import barcoded_frames, read_barcode, write_clip

FRAMES = barcoded_frames(30, 64, 96)
B_FRAMES = {"g": "12", "bf": "2"}
UNEVEN = [0, 1, 2, 5, 6, 10, 11, 12, 13, 19, *range(21, 60, 2)]
OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"}
H265 = {"x265-params": "log-level=none:pools=none:frame-threads=1"}

SHARED = {  # clips that decord reads right
    "h264.mp4": {"options": B_FRAMES},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"flags": "+qscale", "global_quality": "236"}},
    "variable_rate.mp4": {"options": B_FRAMES, "pts": UNEVEN},
    "rotated_90.mp4": {"options": B_FRAMES, "rotation": 90},
    "rotated_180.mp4": {"rotation": 180},
    "rotated_270.mp4": {"rotation": -90},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le", "options": B_FRAMES},
    "ten_bit_rotated.mp4": {"pix_fmt": "yuv420p10le", "rotation": 90},
    "ten_bit_bt709.mp4": {"pix_fmt": "yuv420p10le", "options": {"colorspace": "bt709"}},
    "twelve_bit.mp4": {"codec": "libx265", "pix_fmt": "yuv420p12le", "options": H265},
    "ten_bit_422.mp4": {"pix_fmt": "yuv422p10le"},
    "full_range.mp4": {"pix_fmt": "yuvj420p"},
    "matroska.mkv": {"options": B_FRAMES},
}
PYAV_ONLY = {  # clips of which decord 0.6 returns wrong frames, or may
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "transport_stream.ts": {"options": B_FRAMES},
    "mpeg4_b_frames.mp4": {"codec": "mpeg4", "options": B_FRAMES},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "options": B_FRAMES},
}


def _written(folder: Path, name: str, frames: np.ndarray = FRAMES, **settings) -> Path:
    write_clip(folder / name, frames, **settings)
    return folder / name


def _remuxed(source: Path, target: Path, *, title: str = "", **options: str) -> Path:
    """Copies a clip's packets into a new file."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        new.metadata["title"] = title
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Writes an H.264 clip of 30 frames whose index lies before its pictures."""
    path = _written(tmp_path_factory.mktemp("clip"), "plain.mp4", options=B_FRAMES)
    return _remuxed(path, path.with_name("clip.mp4"), movflags="faststart")


# Right frames


@pytest.mark.parametrize(("name", "settings"), {**SHARED, **PYAV_ONLY}.items())
def test_every_frame_is_the_right_one(tmp_path, name, settings):
    rotation = settings.get("rotation", 0)
    # A file that asks for a turn stores frames turned the other way.
    path = _written(tmp_path, name, np.rot90(FRAMES, -rotation // 90, (1, 2)), **settings)
    every = np.stack(list(iter_frames(path)))
    assert every.shape == FRAMES.shape
    assert every.dtype == np.uint8
    assert [read_barcode(frame) for frame in every] == list(range(30))
    assert (info := probe(path)).num_frames == 30
    assert (info.height, info.width, info.rotation) == (64, 96, rotation % 360)
    asked = [7, 0, 29, 7, 22]
    np.testing.assert_array_equal(read_frames(path, asked), every[asked])
    np.testing.assert_array_equal(read_frames(path.read_bytes(), asked), every[asked])


@pytest.mark.parametrize(("name", "settings"), SHARED.items())
def test_decord_gives_the_same_pixels(tmp_path, name, settings):
    pytest.importorskip("decord")
    path = _written(tmp_path, name, **settings)
    asked = [*range(30), 3, 17, 17]
    expected = read_frames(path, asked)
    np.testing.assert_array_equal(read_frames(path, asked, decoder="decord"), expected)
    np.testing.assert_array_equal(read_frames(path.read_bytes(), asked, decoder="decord"), expected)


def test_decord_on_coarse_mpeg4_differs_by_a_rounding_error(tmp_path):
    pytest.importorskip("decord")
    path = _written(tmp_path, "coarse.mp4", codec="mpeg4", options={"b": "200000"})
    ours = read_frames(path, range(30)).astype(int)
    difference = np.abs(ours - read_frames(path, range(30), decoder="decord"))
    # MPEG-4 Part 2 leaves the inverse DCT's last bit open, and FFmpeg's changed since decord's.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


@pytest.mark.parametrize(("skipped", "gop"), [(7, "12"), (15, "6")])
def test_frames_skipped_by_an_edit_list_do_not_count(tmp_path, skipped, gop):
    times = range(-skipped, 30 - skipped)
    path = _written(tmp_path, "edit.mp4", options={"g": gop, "bf": "2"}, pts=times)
    assert probe(path).num_frames == 30 - skipped
    assert [read_barcode(frame) for frame in iter_frames(path)] == list(range(skipped, 30))
    assert read_barcode(read_frames(path, [0])[0]) == skipped
    with pytest.raises(ClipError, match=f"has {30 - skipped} frames"):
        read_frames(path, [30 - skipped])


def test_decord_refuses_an_edit_list_it_would_read_wrong(tmp_path):
    pytest.importorskip("decord")
    path = _written(tmp_path, "edit.mp4", options=B_FRAMES, pts=range(-7, 23))
    with pytest.raises(ClipError, match=r"decord counts 30 frames, there are 23.*pyav"):
        read_frames(path, [0], decoder="decord")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_mirrored_clip_is_shown_as_meant(tmp_path, rotation):
    stored = np.rot90(FRAMES[:, :, ::-1], -rotation // 90, (1, 2))
    path = _written(tmp_path, "mirror.mp4", stored, rotation=rotation, mirrored=True)
    # A wrong flip shows: the code would be read backwards, or the colors for the code.
    assert [read_barcode(frame) for frame in iter_frames(path)] == list(range(30))


@pytest.mark.parametrize("size", [(63, 97), (64, 97), (63, 96), (47, 45)])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_odd_sizes_and_very_short_clips(tmp_path, size, n):
    path = _written(tmp_path, "odd.mp4", barcoded_frames(n, *size), codec="mpeg4")
    frames = read_frames(path, range(n))
    assert frames.shape == (n, *size, 3)
    assert [read_barcode(frame) for frame in frames] == list(range(n))
    assert probe(path).num_frames == n


def test_colors_are_the_drawn_ones(tmp_path):
    squares = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], np.uint8)
    drawn = np.broadcast_to(squares.repeat(16, 0), (3, 64, 64, 3))
    for pix_fmt in ("yuv420p", "yuv420p10le", "yuv444p"):
        path = _written(tmp_path, f"{pix_fmt}.mp4", drawn, pix_fmt=pix_fmt, options={"crf": "1"})
        difference = np.abs(read_frames(path, [2])[0].astype(int) - drawn[0])[:, 4:12]
        assert difference.max() <= 4  # gray levels; limited-range YUV has 219 for 256


def test_probe_describes_the_clip(clip, tmp_path):
    assert probe(clip) == VideoInfo(30, 30.0, 64, 96, "h264", 0)
    slow = _written(tmp_path, "slow.mp4", codec="mpeg4", fps=12)
    assert probe(slow.read_bytes()) == VideoInfo(30, 12.0, 64, 96, "mpeg4", 0)


def test_broken_metadata_does_not_matter(tmp_path, clip):
    data = _remuxed(clip, tmp_path / "title.mp4", title="TITLE").read_bytes()
    assert data.count(b"TITLE") == 1
    not_utf8 = data.replace(b"TITLE", b"\xff\xfe\xfd\xfc\xfb")
    assert read_barcode(read_frames(not_utf8, [4])[0]) == 4


# Wrong use and wrong clips


def test_wrong_arguments(clip):
    with pytest.raises(ValueError, match=r"config.data.decoder: expected one of .*'opencv'"):
        read_frames(clip, [0], decoder="opencv")
    for indices in ([], [3, -1]):
        with pytest.raises(ValueError, match="frame numbers from 0"):
            read_frames(clip, indices)


def test_decord_not_installed(clip, monkeypatch):
    real_import = builtins.__import__

    def without_decord(name, *args, **kwargs):
        if name == "decord":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_decord)
    video._import_decord.cache_clear()
    with pytest.raises(ValueError, match=r"config.data.decoder.*pip install decord.*pyav"):
        read_frames(clip, [0], decoder="decord")


def _write_audio(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))


def _bad_clips(folder: Path, clip: Path) -> dict[str, tuple[bytes, str]]:
    good = clip.read_bytes()
    _write_audio(folder / "audio.mp4")
    codec = good.replace(b"avc1", b"zzzz")
    _written(folder, "picture.png", FRAMES[:1], codec="png", pix_fmt="rgb24")
    return {
        "empty": (b"", "empty"),
        "garbage": (np.random.default_rng(0).bytes(5000), "not a video"),
        "text": (b"This is not a video.\n" * 50, "not a video"),
        "header cut": (good[:400], "no decoder"),
        "pictures cut": (good[:-2000], "truncated"),
        "last byte cut": (good[:-1], "truncated"),
        "audio only": ((folder / "audio.mp4").read_bytes(), "no video stream"),
        "unknown codec": (codec, "no decoder"),
        "picture": ((folder / "picture.png").read_bytes(), "not a video"),
        "playlist": (f"#EXTM3U\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n".encode(), "not a video"),
        "concat script": (f"ffconcat version 1.0\nfile '{clip}'\n".encode(), "not a video"),
    }


@pytest.mark.parametrize("decoder", video.DECODERS)
def test_bad_clips_give_one_clear_error(tmp_path, clip, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    for kind, (data, reason) in _bad_clips(tmp_path, clip).items():
        path = tmp_path / f"{kind}.mp4"
        path.write_bytes(data)
        for source, name, shown in (
            (data, None, "<bytes>"),
            (data, "a clip", "a clip"),
            (path, None, str(path)),
            (str(path), "a clip", "a clip"),
        ):
            with pytest.raises(ClipError, match=reason) as caught:
                read_frames(source, [0], decoder=decoder, name=name)
            assert caught.value.clip == shown, kind
            assert str(caught.value) == f"{shown}: {caught.value.reason}."
            with pytest.raises(ClipError, match=reason):
                probe(source, name=name)
            with pytest.raises(ClipError, match=reason):
                next(iter_frames(source, name=name))


@pytest.mark.parametrize("decoder", video.DECODERS)
def test_missing_frame(clip, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    with pytest.raises(ClipError, match=r"has 30 frames .* frame 30 \(from 0\) was asked for"):
        read_frames(clip, [0, 30], decoder=decoder)


def test_bad_paths(tmp_path, clip):
    os.mkfifo(tmp_path / "pipe.mp4")
    for source, reason in (
        (tmp_path / "missing.mp4", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe.mp4", "not a regular file"),
        ("nul\0byte.mp4", "null byte"),
        # FFmpeg would take these for more than file names.
        (f"concat:{clip}|{clip}", "No such file"),
        (f"file:{clip}", "No such file"),
        ("http://127.0.0.1:9/clip.mp4", "No such file"),
    ):
        with pytest.raises(ClipError, match=reason):
            probe(source)


def test_any_file_name_works(tmp_path, clip):
    for name in (b"a:b|c.mp4", b"\xff\xfe.mp4", "手話 %d.mp4".encode()):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(clip.read_bytes())
        assert read_barcode(read_frames(path, [9])[0]) == 9
        assert read_barcode(read_frames(str(path), [9])[0]) == 9


def test_huge_frames_are_refused(tmp_path):
    huge = np.zeros((1, 4096, 4112, 3), np.uint8)
    path = _written(tmp_path, "huge.mp4", huge, options={"preset": "ultrafast"})
    with pytest.raises(ClipError, match="4112x4096, more than 16,777,216 pixels; scale it down"):
        probe(path)


def test_oblong_frames_are_refused(tmp_path):
    path = _written(tmp_path, "thin.mp4", np.zeros((1, 8, 520, 3), np.uint8))
    with pytest.raises(ClipError, match="520x8, which is too oblong: more than 64 to 1"):
        probe(path)


def test_damage_in_the_middle_is_found(tmp_path):
    whole = _written(tmp_path, "c.mkv", barcoded_frames(60, 64, 96), options={"g": "12"})
    refused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        damaged = bytearray(whole.read_bytes())
        start = int(rng.integers(len(damaged) // 4, len(damaged) - 1000))
        damaged[start : start + 400] = bytes(400)
        with contextlib.suppress(ClipError):
            assert probe(bytes(damaged)).num_frames == 60
            continue
        refused += 1
    assert refused > 10


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ClipError("a.mp4", "is empty")))
    assert (error.clip, error.reason, str(error)) == ("a.mp4", "is empty", "a.mp4: is empty.")


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    damaged, start = bytearray(data), int(rng.integers(len(data)))
    match rng.integers(4):
        case 0:
            return data[:start]
        case 1:
            del damaged[start : start + int(rng.integers(1, 300))]
        case 2:
            damaged[start : start + 40] = rng.bytes(40)
        case _:
            for place in rng.integers(len(data), size=rng.integers(1, 8)):
                damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "h264.mkv", "h264.ts"])
def test_damaged_clips_decode_or_give_clip_error(tmp_path, name):
    codec = "libx264" if name.startswith("h264") else "mpeg4"
    data = _written(tmp_path, name, codec=codec, options=B_FRAMES).read_bytes()
    outcomes = []
    for seed in range(40):
        damaged = _damaged(data, np.random.default_rng(seed))
        for read in (probe, lambda d: read_frames(d, [0, 20]), lambda d: list(iter_frames(d))):
            try:
                read(damaged)
                outcomes.append("read")
            except ClipError:
                outcomes.append("refused")
    assert set(outcomes) == {"read", "refused"}  # the damage is neither too mild nor too harsh


@pytest.mark.parametrize(("name", "codec"), [("cut.mkv", "libx264"), ("cut.webm", "libvpx-vp9")])
def test_matroska_that_ends_too_early(tmp_path, name, codec):
    path = tmp_path / name
    write_clip(path, barcoded_frames(60, 64, 64), codec=codec)
    assert probe(path).num_frames == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError, match="is truncated: its last part is missing"):
        probe(path)


# Threads and leaks


@pytest.mark.parametrize("decoder", video.DECODERS)
def test_many_threads_at_once(clip, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    asked = [1, 8, 29, 15]
    expected = read_frames(clip, asked, decoder=decoder)
    data = clip.read_bytes()
    with ThreadPoolExecutor(8) as pool:
        sources = [clip, data] * 20
        for frames in pool.map(lambda s: read_frames(s, asked, decoder=decoder), sources):
            np.testing.assert_array_equal(frames, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
@pytest.mark.parametrize("decoder", video.DECODERS)
def test_no_thread_or_file_is_left_open(tmp_path, clip, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:-500])

    def open_things() -> tuple[int, int, int]:
        tasks = len(os.listdir("/proc/self/task"))
        return len(os.listdir("/proc/self/fd")), tasks, threading.active_count()

    def read_all() -> None:
        read_frames(clip, [3], decoder=decoder)
        next(iter_frames(clip))  # abandoned half-way
        with pytest.raises(ClipError):
            read_frames(broken, [3], decoder=decoder)
        with pytest.raises(ClipError):
            read_frames(clip, [99], decoder=decoder)

    read_all()
    before = open_things()
    half_read = iter_frames(clip)
    next(half_read)
    assert open_things() == (before[0] + 1, *before[1:])  # the file; no thread but the caller's
    del half_read
    for _ in range(20):
        read_all()
    # Threads that earlier tests left may have ended meanwhile.
    assert all(now <= then for now, then in zip(open_things(), before, strict=True))


def test_frames_are_freed_at_once(clip):
    # A frame in a reference cycle would stay until the cyclic collector runs, if ever.
    gc.collect()
    gc.disable()
    try:
        for _ in iter_frames(clip):
            pass
        left = [o for o in gc.get_objects() if isinstance(o, av.VideoFrame)]
    finally:
        gc.enable()
    assert len(left) <= 2  # the first, whose orientation was looked at, and the last pixels
