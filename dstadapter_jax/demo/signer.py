"""The demo's signers: a drawn figure with head, torso, arms and hands in front of a room.

Positions are in body units: half a shoulder width, measured from between the shoulders, x towards
the dominant hand's side and y downwards. A horizontal flip is therefore a left-handed signer, never
another sign.
"""

import dataclasses
from collections.abc import Iterable
from typing import Self

import cv2
import numpy as np

SIZE = 128  # side of the square frames, pixels

Point = tuple[float, float]
Color = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Signer:
    """Appearance of one person and their room, and distribution of their signing speed."""

    skin: Color
    shirt: Color
    hair: Color
    walls: tuple[Color, Color]  # background colors at the top and at the bottom
    furniture: tuple[tuple[float, ...], ...]  # x, y, width, height as shares of the frame
    unit: float  # half the shoulder width as a share of the frame
    girth: float  # thickness of limbs and hands, in units
    side: int  # 1 or -1: dominant hand at the right or left of the picture
    pace: tuple[float, float, float]  # probabilities of `signs.LENGTHS`

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a random signer; the skin stands out from shirt and room."""
        tone = rng.uniform(0, 1)
        return cls(
            skin=_mix((246, 207, 180), (150, 98, 66), tone),
            shirt=_hue(rng, saturation=(90, 200), value=(50, 130)),
            hair=_mix((30, 24, 22), (120, 80, 44), rng.uniform(0, 1)),
            walls=(
                _hue(rng, saturation=(10, 70), value=(90, 235)),
                _hue(rng, saturation=(10, 70), value=(90, 235)),
            ),
            furniture=tuple(map(tuple, rng.uniform((0, 0, 0.1, 0.1), (1, 1, 0.4, 0.5), (3, 4)))),
            unit=rng.uniform(0.135, 0.175),
            girth=rng.uniform(0.36, 0.46),
            side=int(rng.choice((-1, 1))),
            pace=tuple(rng.dirichlet((1, 1, 1))),
        )


def _mix(first: Color, second: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _hue(rng: np.random.Generator, saturation: Point, value: Point) -> Color:
    hsv = np.array([[(rng.integers(180), rng.uniform(*saturation), rng.uniform(*value))]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


class Painter:
    """Draws one signer, frame by frame, at twice the output size for smooth edges."""

    def __init__(self, signer: Signer, rng: np.random.Generator):
        self.signer = signer
        self.side = 2 * SIZE
        self.unit = self.side * signer.unit * rng.uniform(0.95, 1.05)
        self.origin = self.side * rng.uniform((0.46, 0.44), (0.54, 0.52))
        self.room = self._room(light=rng.uniform(0.85, 1.1))
        # A noise field twice as large as a frame; each frame shows a random part of it.
        self.grain = rng.normal(0, rng.uniform(1, 6), (2 * SIZE, 2 * SIZE, 3)).astype(np.int16)

    def frame(self, hands: np.ndarray, shape: str, rng: np.random.Generator) -> np.ndarray:
        """Draw a frame: `hands` `(2, 2)` as (hand, xy) -> `(SIZE, SIZE, 3)` uint8 RGB."""
        self.canvas = self.room.copy()
        self.sway = rng.normal(0, 0.02, 2)
        self._body()
        for hand, side in zip(hands, (1, -1), strict=True):
            self._arm(hand * (side, 1), side, shape)
        small = cv2.resize(self.canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        top, left = rng.integers(SIZE, size=2)
        grain = self.grain[top : top + SIZE, left : left + SIZE]
        return np.clip(small + grain, 0, 255).astype(np.uint8)

    def _room(self, light: float) -> np.ndarray:
        ramp = np.linspace(0, 1, self.side)[:, None, None]
        top, bottom = (np.array(color) for color in self.signer.walls)
        room = np.tile((1 - ramp) * top + ramp * bottom, (1, self.side, 1))
        for number, (x, y, width, height) in enumerate(self.signer.furniture):
            columns = slice(int(x * self.side), int((x + width) * self.side))
            room[int(y * self.side) : int((y + height) * self.side), columns] *= 0.8 + 0.1 * number
        return np.clip(room * light, 0, 255).astype(np.uint8)

    def _pixel(self, point: Iterable[float]) -> tuple[int, int]:
        x, y = self.origin + (np.asarray(point) + self.sway) * (self.signer.side, 1) * self.unit
        return round(x), round(y)

    def _line(self, points: list, color: Color, thickness: float) -> None:
        pixels = np.array([self._pixel(point) for point in points], np.int32)
        width = max(1, round(thickness * self.unit))
        cv2.polylines(self.canvas, [pixels], False, color, width, cv2.LINE_AA)

    def _disc(self, point: Iterable[float], radii: Point, color: Color, angle: float = 0) -> None:
        axes = (round(radii[0] * self.unit), round(radii[1] * self.unit))
        cv2.ellipse(self.canvas, self._pixel(point), axes, angle, 0, 360, color, -1, cv2.LINE_AA)

    def _body(self) -> None:
        signer = self.signer
        torso = [(-1.05, 0.1), (-0.8, -0.12), (0.8, -0.12), (1.05, 0.1), (0.85, 4), (-0.85, 4)]
        pixels = np.array([self._pixel(point) for point in torso], np.int32)
        cv2.fillPoly(self.canvas, [pixels], signer.shirt, cv2.LINE_AA)
        self._disc((0, -1.3), (0.68, 0.78), signer.hair)
        self._line([(0, -0.7), (0, 0)], _mix(signer.skin, (0, 0, 0), 0.15), 0.5)
        self._disc((0, -1.1), (0.55, 0.68), signer.skin)
        for x in (-0.2, 0.2):
            self._disc((x, -1.15), (0.06, 0.08), (40, 30, 30))
        self._line([(-0.15, -0.78), (0.15, -0.78)], (150, 70, 70), 0.06)

    def _arm(self, hand: np.ndarray, side: int, shape: str) -> None:
        shoulder = np.array((0.92 * side, 0.12))
        reach = np.linalg.norm(hand - shoulder)
        # The elbow bends out of the picture's plane; its projection points outwards.
        bend = np.sqrt(np.maximum(0, 1.2**2 - (reach / 2) ** 2))
        elbow = (shoulder + hand) / 2 + bend * np.array((0.55 * side, 0.5))
        girth = self.signer.girth
        self._line([shoulder, elbow], _mix(self.signer.shirt, (255, 255, 255), 0.12), 1.15 * girth)
        self._line([elbow, hand], self.signer.skin, 0.75 * girth)
        forearm = (hand - elbow) / np.linalg.norm(hand - elbow)
        if shape == "fist":
            self._fist(hand)
        else:
            self._flat(hand, forearm)

    def _fist(self, hand: np.ndarray) -> None:
        girth = self.signer.girth
        self._disc(hand, (0.8 * girth, 0.8 * girth), _mix(self.signer.skin, (60, 30, 20), 0.35))
        self._disc(hand, (0.65 * girth, 0.65 * girth), self.signer.skin)

    def _flat(self, hand: np.ndarray, forearm: np.ndarray) -> None:
        girth = self.signer.girth
        across = np.array((-forearm[1], forearm[0]))
        for spread in (-0.75, -0.25, 0.25, 0.75):
            tip = hand + girth * (1.7 * forearm + spread * across)
            self._line([hand + 0.5 * girth * spread * across, tip], self.signer.skin, 0.32 * girth)
        self._disc(hand, (0.68 * girth, 0.68 * girth), self.signer.skin)
