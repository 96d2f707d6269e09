"""Files whose packets are not their frames, and frames that are shown other than stored."""

import io
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from dstadapter_jax.data.video.reader import (
    ClipError,
    iter_frames,
    iter_timed_frames,
    probe,
    read_frames,
)
from tests.helpers.clips import barcoded_frames, read_barcode, write_clip

FILES = Path(__file__).parent / "files"
OPEN_GOP = "log-level=none:open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0"


def write(path: Path, frames: np.ndarray, **settings) -> Path:
    write_clip(path, frames, **settings)
    return path


def numbers(source) -> list[int]:
    return [read_barcode(frame) for frame in iter_frames(source)]


def remux(source: Path, target: Path, keep) -> Path:
    """Copy the packets that `keep(index, packet)` selects."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None and keep(index, packet):
                packet.stream = stream
                new.mux(packet)
    return target


# Packets that are not frames


def test_probe_of_hidden_reference_frames_counts_shown_frames():
    assert probe(FILES / "hidden_references.webm").num_frames == 60  # 63 packets
    assert len(list(iter_frames(FILES / "hidden_references.webm"))) == 60


def test_probe_of_field_pictures_counts_frames():
    info = probe(FILES / "field_pictures.mp4")  # six packets of one field each, 25 frames a second
    assert (info.num_frames, info.fps, info.interlaced) == (3, 25.0, True)
    assert len(list(iter_frames(FILES / "field_pictures.mp4"))) == 3


def test_probe_of_placeholders_of_xvid_counts_frames():
    assert probe(FILES / "xvid_nvop.avi").num_frames == 57  # 60 packets
    assert len(list(iter_frames(FILES / "xvid_nvop.avi"))) == 57


@pytest.mark.parametrize("seed", range(3))
def test_stream_that_begins_in_mid_gop_begins_with_a_decodable_frame(tmp_path, seed):
    options = {"g": "20", "bf": "2", "sc_threshold": "0"}
    path = write(tmp_path / "c.ts", barcoded_frames(60, 64, 96), options=options)
    data = path.read_bytes()
    start = 188 * int(np.random.default_rng(seed).integers(30, len(data) // 188 // 2))
    found = numbers(data[start:])
    info = probe(data[start:])
    assert found == list(range(found[0], 60))
    assert found[0] in (20, 40)  # a key frame
    assert (info.num_frames, info.num_lost > 0) == (len(found), True)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_stream_that_was_cut_at_an_open_gop_lacks_its_leading_pictures(tmp_path, codec):
    options = {f"{codec[3:]}-params": OPEN_GOP.replace("log-level=none:", "")}
    if codec == "libx265":
        options["x265-params"] = f"{OPEN_GOP}:pools=none:frame-threads=1"
    whole = write(tmp_path / "c.mkv", barcoded_frames(40, 64, 96), codec=codec, options=options)
    with av.open(str(whole)) as container:
        keys = [i for i, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    cut = remux(whole, tmp_path / "cut.mkv", lambda index, packet: index >= keys[1])
    info = probe(cut)
    assert numbers(cut) == list(range(40 - info.num_frames, 40))
    assert info.num_lost > 0


def test_joined_transport_streams_are_one_clip(tmp_path):
    path = write(tmp_path / "c.ts", barcoded_frames(10, 64, 96))
    assert numbers(2 * path.read_bytes()) == 2 * list(range(10))


# Times


def test_webm_with_too_long_a_duration_is_whole(tmp_path):
    path = write(tmp_path / "c.webm", barcoded_frames(30, 64, 96), codec="libvpx")
    data = path.read_bytes()
    duration = data.index(b"\x44\x89\x88") + 3
    longer = np.array(1500.0, ">f8").tobytes()  # milliseconds
    info = probe(data[:duration] + longer + data[duration + 8 :])
    assert (info.num_frames, info.fps) == (30, 30.0)


def test_webm_without_default_duration_has_the_rate_of_its_times(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(30, 45, 40)).tolist()
    frames = barcoded_frames(40, 64, 96)
    path = write(tmp_path / "c.webm", frames, codec="libvpx", fps=1000, pts=times)
    data = bytearray(path.read_bytes())
    start = data.index(b"\x23\xe3\x83")  # the element DefaultDuration becomes one of type Void
    size = 3 + 1 + (data[start + 3] & 0x7F)
    data[start : start + size] = bytes([0xEC, 0x80 | size - 2]) + bytes(size - 2)
    data = bytes(data)
    expected = 39 * 1000 / (times[-1] - times[0])
    assert probe(data).fps == pytest.approx(expected, rel=1e-3)  # times are in milliseconds
    found = [seconds for seconds, _ in iter_timed_frames(data)]
    np.testing.assert_allclose(found, (np.array(times) - times[0]) / 1000, atol=1e-3)


def test_probe_of_evenly_timed_clip_keeps_the_header_s_rate(tmp_path):
    rate = Fraction(60000, 1001)
    for name in ("c.mp4", "c.mkv"):
        path = write(tmp_path / name, barcoded_frames(12, 64, 96), fps=rate)
        assert probe(path).fps == pytest.approx(float(rate), rel=1e-4)


def write_live(path: Path, num_frames: int, *, live: bool = True) -> None:
    """Write WebM, by default without sizes, as to a network."""
    options = {"live": "1"} if live else {}
    with av.open(str(path), "w", format="webm", options=options) as container:
        stream = container.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for pixels in barcoded_frames(num_frames, 64, 96):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("cut", [1, 5, 30, 1000])
@pytest.mark.parametrize("live", [False, True])
def test_webm_that_was_cut_off_is_refused(tmp_path, cut, live):
    path = tmp_path / "c.webm"
    write_live(path, 30, live=live)
    assert probe(path).num_frames == 30
    with pytest.raises(ClipError, match="is truncated"):
        probe(path.read_bytes()[:-cut])


@pytest.mark.parametrize("rest", [b"\xa3", b"\xa3\x42", b"\xa3\x42\x10"])
def test_live_webm_that_ends_with_a_header_is_whole(tmp_path, rest):
    """As Chromium's recorder ends a file that a page stops in the middle of a frame."""
    path = tmp_path / "c.webm"
    write_live(path, 30)
    assert probe(path.read_bytes() + rest).num_frames == 30


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("c.wmv", "wmv2", "yuv420p"), ("c.gif", "gif", "rgb8")]
)
def test_truncated_file_of_which_ffmpeg_reads_the_rest_is_refused(tmp_path, name, codec, pix_fmt):
    frames = barcoded_frames(20, 64, 96)
    data = write(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt).read_bytes()
    assert probe(data).num_frames == 20
    for share in (0.5, 0.9, 0.99):
        with pytest.raises(ClipError, match="is truncated"):
            probe(data[: int(share * len(data))])


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_avi_that_was_cut_within_a_picture_is_refused(tmp_path, codec):
    settings = {"codec": codec, "pix_fmt": "yuvj420p" if codec == "mjpeg" else "yuv420p"}
    data = write(tmp_path / "c.avi", barcoded_frames(20, 64, 96), **settings).read_bytes()
    with av.open(str(tmp_path / "c.avi")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    cut = packets[12].pos + 8 + packets[12].size // 2  # behind the chunk's header
    with pytest.raises(ClipError, match="is truncated: data is missing"):
        probe(data[:cut])


def test_picture_that_cannot_be_decoded_in_the_middle_is_damage(tmp_path):
    path = write(tmp_path / "c.mp4", barcoded_frames(20, 64, 96), options={"g": "1"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
    data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    with pytest.raises(ClipError, match=r"is damaged: a picture at 0\.4 seconds can't be decoded"):
        probe(bytes(data))


# Frames as they are shown


@pytest.mark.parametrize(("aspect", "width"), [((2, 1), 192), ((16, 15), 102), ((1, 2), 48)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_frames_of_pixels_that_are_not_square_are_scaled(tmp_path, aspect, width, rotation):
    path = tmp_path / "c.mp4"
    frames = barcoded_frames(3, 64, 96)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if rotation:
            stream.set_display_rotation(rotation)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    size = (width, 64) if rotation else (64, width)
    info = probe(path)
    assert (info.height, info.width, info.pixel_aspect) == (*size, "{}:{}".format(*aspect))
    found = read_frames(path, [2, 0])
    assert found.shape == (2, *size, 3)
    upright = [np.rot90(frame, -1) if rotation else frame for frame in found]
    assert [read_barcode(frame) for frame in upright] == [2, 0]
    with pytest.raises(ClipError, match="decord"):
        read_frames(path, [0], decoder="decord")


def test_default_stream_is_read_and_no_attached_picture(tmp_path):
    path, frames = tmp_path / "c.mkv", barcoded_frames(5, 64, 96)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 320, 240, "yuvj420p"
        film = container.add_stream("libx264", rate=30)
        film.width, film.height, film.pix_fmt = 96, 64, "yuv420p"
        film.disposition = av.stream.Disposition.default
        picture.disposition = av.stream.Disposition.attached_pic
        still = np.full((240, 320, 3), 99, np.uint8)
        container.mux(picture.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        for pixels in frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in (picture, film):
            container.mux(stream.encode(None))
    assert numbers(path) == list(range(5))
    assert (probe(path).height, probe(path).width) == (64, 96)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    path, packets = tmp_path / "c.webm", []
    for (height, width), (first, last) in {(64, 96): (0, 3), (48, 64): (3, 6)}.items():
        part = tmp_path / f"{height}.webm"
        write(part, barcoded_frames(6, height, width)[first:last], codec="libvpx")
        packets.append(av.open(str(part)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(packets[0].streams.video[0])
        for time, packet in enumerate(
            packet for part in packets for packet in part.demux(video=0) if packet.size
        ):
            packet.pts = packet.dts = 33 * time
            packet.stream = stream
            container.mux(packet)
    info = probe(path)
    assert (info.num_frames, info.height, info.width, info.num_sizes) == (6, 64, 96, 2)
    assert {frame.shape for frame in iter_frames(path)} == {(64, 96, 3)}
    assert numbers(path) == list(range(6))


HDR = {"HLG": "arib-std-b67", "PQ": "smpte2084", "SDR, BT.2020": "bt2020-10"}


def signal_of(color: np.ndarray, dynamic_range: str) -> np.ndarray:
    """The HDR signal, 0 to 1, whose light is that of an SDR color, white being 203 cd/m2.

    Computed the other way round from the code: ITU-R BT.1886, BT.2087, BT.2100.
    """
    to_bt2020 = np.array(
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    )
    light = to_bt2020 @ (color / 255) ** 2.4
    if dynamic_range == "PQ":
        power = (light * 203 / 10_000) ** (2610 / 16384)
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        return ((c1 + c2 * power) / (1 + c3 * power)) ** (2523 / 32)
    if dynamic_range == "HLG":
        display = light * 203 / 1000
        scene = display * (display @ [0.2627, 0.6780, 0.0593]) ** (1 / 1.2 - 1)
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        bright = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    return light ** (1 / 2.4)


@pytest.mark.parametrize("dynamic_range", HDR)
@pytest.mark.parametrize("color", [(216, 60, 38), (128, 128, 128), (40, 90, 200), (235, 200, 180)])
def test_high_dynamic_range_is_mapped_to_the_sdr_color(tmp_path, dynamic_range, color):
    params = f"colorprim=bt2020:transfer={HDR[dynamic_range]}:colormatrix=bt2020nc"
    options = {"x264-params": params, "crf": "4", "bf": "0"}
    r, g, b = signal_of(np.array(color), dynamic_range)
    luma = 0.2627 * r + 0.6780 * g + 0.0593 * b
    levels = 64 + 876 * luma, 512 + 896 * (b - luma) / 1.8814, 512 + 896 * (r - luma) / 1.4746
    with av.open(str(tmp_path / "c.ts"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame(64, 64, "yuv420p10le")
        for plane, level in zip(frame.planes, levels, strict=True):
            plane.update(np.full(plane.buffer_size // 2, round(level), np.uint16).tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 30)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(tmp_path / "c.ts").dynamic_range == dynamic_range
    found = read_frames(tmp_path / "c.ts", [0])[0][32, 32].astype(int)
    assert np.abs(found - color).max() <= 3  # 10 bits, and the encoder is lossy


# Pictures


def test_animated_gif_is_a_clip(tmp_path):
    frames = barcoded_frames(8, 64, 96)
    images = [Image.fromarray(frame) for frame in frames]
    path = tmp_path / "c.gif"
    images[0].save(path, save_all=True, append_images=images[1:], duration=40, loop=0)
    assert numbers(path) == list(range(8))
    assert (probe(path).num_frames, probe(path).fps) == (8, pytest.approx(25))


def test_animated_webp_is_a_clip(tmp_path):
    images = [Image.fromarray(frame) for frame in barcoded_frames(8, 64, 96)]
    path = tmp_path / "c.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=50, lossless=True)
    assert numbers(path) == list(range(8))
    assert numbers(path.read_bytes()) == list(range(8))
    assert (probe(path).num_frames, probe(path).fps) == (8, pytest.approx(20))
    np.testing.assert_array_equal(read_frames(path, [5])[0], barcoded_frames(8, 64, 96)[5])
    for cut in (40, len(path.read_bytes()) // 2):
        with pytest.raises(ClipError):
            probe(path.read_bytes()[:cut])


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_still_picture_is_one_frame_or_refused(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    Image.fromarray(barcoded_frames(1, 64, 96)[0]).save(path)
    if suffix == ".gif":
        assert probe(path).num_frames == 1
    else:
        with pytest.raises(ClipError, match="one picture"):
            probe(path)


def test_frames_of_damaged_webp_raise_clip_error(tmp_path):
    images = [Image.fromarray(frame) for frame in barcoded_frames(6, 32, 48)]
    data = io.BytesIO()
    images[0].save(data, "WEBP", save_all=True, append_images=images[1:])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        damaged = bytearray(data.getvalue())
        for place in rng.integers(len(damaged), size=8):
            damaged[place] ^= 255
        try:
            probe(bytes(damaged))
        except ClipError:
            continue


def write_pictures(folder: Path, names, frames) -> Path:
    folder.mkdir()
    for name, frame in zip(names, frames, strict=True):
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(folder / name), bgr)
    return folder


@pytest.mark.parametrize("pattern", ["{:05}.jpg", "img_{}.png", "frame{:d}.BMP"])
def test_folder_of_numbered_pictures_is_a_clip(tmp_path, pattern):
    names = [pattern.format(i) for i in range(1, 13)]
    folder = write_pictures(tmp_path / "clip", names, barcoded_frames(12, 64, 96))
    (folder / ".DS_Store").touch()
    (folder / "Thumbs.db").touch()
    assert numbers(folder) == list(range(12))
    info = probe(folder)
    assert (info.num_frames, info.fps, info.height, info.width) == (12, 25.0, 64, 96)
    assert [read_barcode(frame) for frame in read_frames(folder, [11, 3])] == [11, 3]


def test_folder_with_a_damaged_picture_names_it(tmp_path):
    names = [f"{i}.jpg" for i in range(4)]
    folder = write_pictures(tmp_path / "clip", names, barcoded_frames(4, 64, 96))
    (folder / "2.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ClipError, match=r"2\.jpg"):
        probe(folder)


@pytest.mark.parametrize("other", ["notes.txt", "a_00001.jpg", "clip.mp4"])
def test_folder_of_other_files_is_refused(tmp_path, other):
    folder = write_pictures(tmp_path / "c", ["1.jpg", "2.jpg"], barcoded_frames(2, 64, 96))
    (folder / other).touch()
    with pytest.raises(ClipError, match="numbered pictures"):
        probe(folder)
