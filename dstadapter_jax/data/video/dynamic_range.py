"""High dynamic range and wide gamut (HLG, PQ, BT.2020) to the standard range of BT.709.

Light is mapped as displays show it: the signal becomes light by ITU-R BT.2100, reference white
(203 cd/m2, ITU-R BT.2408) becomes white, brighter light is clipped, and the result is encoded for a
display of gamma 2.4 (ITU-R BT.1886).
"""

import cv2
import numpy as np
from av.video.frame import VideoFrame

SDR, HLG, PQ, BT2020 = "SDR", "HLG", "PQ", "SDR, BT.2020"
_REFERENCE_WHITE, _HLG_PEAK = 203.0, 1000.0  # cd/m2
_TRANSFERS = {16: PQ, 18: HLG}  # FFmpeg's `color_trc`
_BT2020_PRIMARIES = 9  # FFmpeg's `color_primaries`
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_BITS = 12
_LEVELS = np.arange(2**_BITS) / (2**_BITS - 1)


def range_of(frame: VideoFrame) -> str:
    """`SDR`, `HLG`, `PQ`, or `SDR, BT.2020`, by the frame's tags."""
    transfer = _TRANSFERS.get(int(frame.color_trc), SDR)
    wide = int(frame.color_primaries) == _BT2020_PRIMARIES
    return BT2020 if transfer == SDR and wide else transfer


def to_sdr(pixels: np.ndarray, dynamic_range: str) -> np.ndarray:
    """Map `(H, W, 3)` uint16 RGB of BT.2020's primaries to uint8 RGB of BT.709.

    `dynamic_range` is any but `SDR`.
    """
    light = _LIGHT[dynamic_range][pixels >> 16 - _BITS]  # 1 is reference white
    if dynamic_range == HLG:  # the opto-optical transfer function of a display of 1000 cd/m2
        luminance = light @ _LUMINANCE
        light *= (_HLG_PEAK / _REFERENCE_WHITE) * luminance[..., np.newaxis] ** np.float32(0.2)
    light = cv2.transform(light, _BT2020_TO_BT709)
    return np.rint(255 * np.clip(light, 0, 1) ** np.float32(1 / 2.4)).astype(np.uint8)


def _hlg_to_scene_light() -> np.ndarray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    bright = (np.exp((_LEVELS - c) / a) + b) / 12
    return np.where(_LEVELS <= 0.5, _LEVELS**2 / 3, bright)


def _pq_to_light() -> np.ndarray:
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    power = _LEVELS ** (1 / m2)
    return 10_000 / _REFERENCE_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


_LIGHT = {  # of each level
    HLG: _hlg_to_scene_light().astype(np.float32),
    PQ: _pq_to_light().astype(np.float32),
    BT2020: (_LEVELS**2.4).astype(np.float32),
}
