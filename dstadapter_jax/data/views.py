"""Views of a clip that are scored in a test: spatial crops x temporal segments."""

import dataclasses
from typing import Self

from dstadapter_jax.errors import UserError

MAX_SEGMENTS = 100


@dataclasses.dataclass(frozen=True)
class Views:
    """All crops of all segments of a clip; its score is the mean over them.

    Attributes:
        crops: 3 crops along the long side, or 1, the middle one.
        segments: Number of times that `num_frames` frames are sampled along the clip (MMAction2's
            `num_clips`).

    Raises:
        UserError: A value is out of range.
    """

    crops: int
    segments: int

    def __post_init__(self) -> None:
        if self.crops not in (1, 3) or not 1 <= self.segments <= MAX_SEGMENTS:
            raise UserError(
                "views",
                expected=f"1 or 3 crops x 1 to {MAX_SEGMENTS} segments, such as 3x1",
                found=f"{self.crops}x{self.segments}",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `CROPSxSEGMENTS`, such as `3x1`."""
        crops, _, segments = text.partition("x")
        # Python can't parse numbers of thousands of digits, and large ones are refused anyway.
        if not all(part.isdecimal() and len(part) < 5 for part in (crops, segments)):
            raise UserError("views", expected="CROPSxSEGMENTS, such as 3x1", found=repr(text))
        return cls(int(crops), int(segments))

    def __str__(self) -> str:
        crops = "crop" + "s" * (self.crops > 1)
        segments = "segment" + "s" * (self.segments > 1)
        return f"{self.crops} {crops} x {self.segments} {segments}"


REFERENCE_VIEWS = Views(crops=3, segments=1)
