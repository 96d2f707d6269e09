"""Which views of a video are scored in a test: crops of its frames, clips along its time."""

import dataclasses
from typing import Self

MOST_CLIPS = 100


@dataclasses.dataclass(frozen=True)
class Views:
    """Every crop of every clip of a video; its score is the mean over them.

    Attributes:
        crops: 3 along the long side, or 1, the middle one of them.
        clips: how often the video is sampled, each time `num_frames` frames all along it
            (MMAction2's `num_clips`).

    Raises:
        ValueError: a value is out of its range.
    """

    crops: int
    clips: int

    def __post_init__(self) -> None:
        if self.crops not in (1, 3) or not 1 <= self.clips <= MOST_CLIPS:
            raise ValueError(
                f"views: expected CROPSxCLIPS, 1 or 3 crops and 1 to {MOST_CLIPS} clips, such as"
                f" 3x1, found {self.crops}x{self.clips}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `CROPSxCLIPS`, such as `3x1`."""
        crops, _, clips = text.partition("x")
        # Of a few digits: longer numbers are refused below anyway, if Python reads them at all.
        if not all(part.isdecimal() and len(part) < 5 for part in (crops, clips)):
            raise ValueError(f"views: expected CROPSxCLIPS, such as 3x1, found {text!r}")
        return cls(int(crops), int(clips))

    def __str__(self) -> str:
        crops, clips = "crop" + "s" * (self.crops > 1), "clip" + "s" * (self.clips > 1)
        return f"{self.crops} {crops} x {self.clips} {clips}"


REFERENCE_VIEWS = Views(crops=3, clips=1)
