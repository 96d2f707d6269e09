"""Five hundred malformed and hostile uploads, drawn from a seed."""

import gzip
import io
import pathlib
import struct
import tarfile
import wave
import zipfile
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image

from tests.helpers.clips import barcoded_frames, write_clip

NAMES = [
    "../../../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/passwd",
    "<img src=x onerror=alert(1)>.mp4",
    '"><script>alert(1)</script>.mp4',
    "a\x01\x02\x1b[31m\x7f.mp4",
    "line\nbreak.mp4",
    "\u202e4pm.exe",
    "手話.mp4",
    "💥.mp4",
    "x" * 300 + ".mp4",
    "-i.mp4",
    "concat:a|b.mp4",
    "%00%2e%2e%2f.mp4",
    ".mp4",
    "clip",
    "clip.m3u8",
    "clip.png",
    "{{value}}${alert(1)}.mp4",
    "nul\x00.mp4",
]


def odd_uploads(folder: pathlib.Path, count: int = 500) -> list[tuple[str, bytes]]:
    """Return names and contents of uploads; `folder` is for temporary files."""
    rng = np.random.default_rng(0)
    good = _good(folder)
    uploads = [("clip.mp4", content) for content in _kinds(folder, good["mp4"])]
    uploads += [(name, good["mp4"]) for name in NAMES]
    containers = list(good)
    while len(uploads) < count:
        container = containers[len(uploads) % len(containers)]
        mutate = _truncated if rng.random() < 0.4 else _scrambled
        uploads.append((f"clip.{container}", mutate(rng, good[container])))
    return uploads


def _good(folder: pathlib.Path) -> dict[str, bytes]:
    frames = barcoded_frames(12, 48, 64)
    codecs = {
        "mp4": "libx264",
        "webm": "libvpx",
        "avi": "mpeg4",
        "mkv": "mpeg4",
        "ts": "mpeg2video",
    }
    for container, codec in codecs.items():
        write_clip(folder / f"good.{container}", frames, codec=codec)
    return {container: (folder / f"good.{container}").read_bytes() for container in codecs}


def _truncated(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: rng.integers(1, len(content))]


def _scrambled(rng: np.random.Generator, content: bytes) -> bytes:
    """Change some bytes, anywhere or in the header, which holds sizes and times."""
    changed = bytearray(content)
    end = len(changed) if rng.random() < 0.5 else min(600, len(changed))
    for place in rng.integers(0, end, rng.integers(1, 40)):
        changed[place] = rng.integers(256)
    return bytes(changed)


def _kinds(folder: pathlib.Path, mp4: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\0" * 100_000
    yield np.random.default_rng(1).bytes(100_000)
    yield b"Ein Text.\n" * 1000
    yield b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield b"<?xml version='1.0'?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>"
    yield b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    yield b"<script>alert(1)</script>"
    yield b"\x7fELF" + bytes(500)
    yield b"[playlist]\nFile1=/etc/passwd\n"
    yield b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    yield gzip.compress(bytes(10_000_000))
    yield from _pictures()
    yield from _archives(mp4)
    yield from _sounds(folder)
    yield from _encoded(folder)
    yield from _patched(mp4)


def _pictures() -> Iterator[bytes]:
    frames = [Image.fromarray(frame) for frame in barcoded_frames(4, 48, 64)]
    for kind in ("GIF", "PNG", "JPEG", "WEBP", "BMP"):
        file = io.BytesIO()
        frames[0].save(
            file,
            kind,
            **({"save_all": True, "append_images": frames[1:]} if kind in ("GIF", "WEBP") else {}),
        )
        yield file.getvalue()
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    yield bomb.getvalue()


def _archives(mp4: bytes) -> Iterator[bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.mp4", mp4)
    yield file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("clip.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    yield file.getvalue()


def _sounds(folder: pathlib.Path) -> Iterator[bytes]:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16_000))
    yield file.getvalue()
    for container, codec in (("mp4", "aac"), ("mkv", "pcm_s16le")):
        path = folder / f"sound.{container}"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=8000)
            samples = np.zeros((1, 8000), np.float32 if codec == "aac" else np.int16)
            layout = {"format": "fltp" if codec == "aac" else "s16", "layout": "mono"}
            frame = av.AudioFrame.from_ndarray(samples, **layout)
            frame.sample_rate = 8000
            out.mux([*stream.encode(frame), *stream.encode(None)])
        yield path.read_bytes()


def _encoded(folder: pathlib.Path) -> Iterator[bytes]:
    """Valid videos of extreme lengths and sizes."""
    small, path = barcoded_frames(2, 32, 48), folder / "odd.mp4"
    for frames, options in (
        (small[:1], {}),
        (small, {"pts": [0, 36_000 * 30]}),  # ten hours between two frames
        (np.repeat(small, 2000, axis=0), {"options": {"preset": "ultrafast"}}),
        (np.zeros((2, 16, 1200, 3), np.uint8), {}),
        (np.zeros((2, 1200, 16, 3), np.uint8), {}),
        (np.zeros((1, 4096, 4096, 3), np.uint8), {"options": {"preset": "ultrafast"}}),
        (np.zeros((2, 2, 2, 3), np.uint8), {}),
    ):
        write_clip(path, frames, **options)
        yield path.read_bytes()


def _patched(mp4: bytes) -> Iterator[bytes]:
    """Headers with false claims: ten hours, frames of 65535x65535, 4 billion frames."""
    for box, offset, value in (
        (b"mvhd", 20, struct.pack(">I", 36_000_000)),
        (b"mdhd", 20, struct.pack(">I", 2**32 - 1)),
        (b"tkhd", 80, struct.pack(">II", 65535 << 16, 65535 << 16)),
        (b"avc1", 28, struct.pack(">HH", 65535, 65535)),
        (b"stts", 8, struct.pack(">III", 1, 12, 2**31 - 1)),
        (b"stts", 8, struct.pack(">III", 1, 2**32 - 1, 1)),
        (b"stsz", 12, struct.pack(">I", 2**32 - 1)),
        (b"stco", 8, struct.pack(">I", 2**32 - 1)),
        (b"moov", -4, struct.pack(">I", 2**32 - 1)),
        (b"ftyp", -4, struct.pack(">I", 0)),
    ):
        changed = bytearray(mp4)
        place = changed.index(box) + offset
        changed[place : place + len(value)] = value
        yield bytes(changed)
