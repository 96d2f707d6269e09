"""Decoding and preprocessing of one record of either storage."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import cv2
import numpy as np

from dstadapter_jax.data.clip_dataset import Example
from dstadapter_jax.data.preprocess import PreprocessConfig, preprocess
from dstadapter_jax.data.video.reader import ClipError, read_frames
from dstadapter_jax.data.views import REFERENCE_VIEWS, Views

MAX_SECONDS = 300.0  # for decoding a clip; the longest clips take a minute

Result = TypeVar("Result")


def decode_in_time(clip: str, decode: Callable[[], Result]) -> Result:
    """Call a function that decodes a clip, in a thread of its own.

    Raises:
        ClipError: It takes longer than `MAX_SECONDS`; its thread is abandoned.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(decode())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"decoding {clip}", daemon=True).start()
    try:
        return future.result(MAX_SECONDS)
    except TimeoutError as error:
        if future.done():
            raise
        raise ClipError(clip, f"takes longer than {MAX_SECONDS:g} seconds to decode") from error


class FrameReader:
    """Reader of the frames of one record of either storage, a callback for `preprocess`.

    Attributes:
        indices: Numbers of the frames that were read last.
    """

    def __init__(self, example: Example, decoder: str):
        self._example, self._decoder = example, decoder
        self.indices = np.zeros(0, np.int64)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Read frames by number, `(len(indices), H, W, 3)` uint8 RGB; may raise ClipError."""
        self.indices, example = indices, self._example
        if "frames" in example:
            return np.stack([_decode_jpeg(example, int(index)) for index in indices])
        first = int(example.get("first_frame", 0))  # the file may show more than the sign
        numbers, name = (first + indices).tolist(), decode_text(example["id"])
        return decode_in_time(
            name,
            lambda: read_frames(example["video"], numbers, decoder=self._decoder, name=name),
        )


def example_views(
    example: Example,
    cfg: PreprocessConfig,
    decoder: str,
    mode: str,
    rng: np.random.Generator | None,
    views: Views = REFERENCE_VIEWS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode and preprocess one record of either storage.

    Returns:
        Views and counts from `preprocess`, and the numbers of the frames.
    """
    read = FrameReader(example, decoder)
    num_frames = int(example["num_frames"])
    pixels, counts = preprocess(num_frames, read, cfg, mode, rng, views=views)
    return pixels, counts, read.indices


def clip_metadata(example: Example, indices: np.ndarray) -> dict[str, Any]:
    """Id, signer and label of a record, and the numbers of the frames that were read."""
    return {
        "id": decode_text(example["id"]),
        "signer": decode_text(example["signer"]),
        "label": np.int32(example["label"]),
        "indices": indices,
    }


def _decode_jpeg(example: Example, index: int) -> np.ndarray:
    encoded = np.frombuffer(example["frames"][index], np.uint8)
    frame = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise ClipError(decode_text(example["id"]), f"stored frame {index} is not a JPEG image")
    return frame


def decode_text(value: bytes | str) -> str:
    """Decode a text feature of an example."""
    return value.decode() if isinstance(value, bytes) else value
