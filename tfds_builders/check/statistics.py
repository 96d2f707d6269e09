"""Statistics of decoded clips: properties of their files, copies, labels and signers."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from dstadapter_jax.data.splits import SPLITS
from dstadapter_jax.data.video.dynamic_range import SDR
from tfds_builders.check.decoding import CheckedClip

_SCANS = ("progressive", "interlaced")

Counts = dict[str, dict[str, int]]  # value to the number of clips of each split


@dataclasses.dataclass(frozen=True)
class Properties:
    """Numbers of usable clips by properties of their files.

    Attributes:
        frames: By number of frames that show the sign.
        sizes: By width and height in pixels, shown upright, such as `640x480`.
        codecs: By FFmpeg's name of the codec.
        fps: By mean frames per second.
        rotations: By degrees, counterclockwise.
        pixel_aspects: By width to height of a stored pixel.
        dynamic_ranges: By `SDR`, `HLG`, `PQ` or `SDR, BT.2020`.
        streams: By number of video streams, of which one is read.
        scans: By `progressive` or `interlaced`.
        frame_sizes: By number of frame sizes in one file.
        lost_pictures: By number of pictures before the first frame that can't be decoded.
    """

    frames: Counts
    sizes: Counts
    codecs: Counts
    fps: Counts
    rotations: Counts
    pixel_aspects: Counts
    dynamic_ranges: Counts
    streams: Counts
    scans: Counts
    frame_sizes: Counts
    lost_pictures: Counts


class Unusual(NamedTuple):
    """A property that changes how frames are read, and that few files have.

    Attributes:
        title: Name of the property.
        note: Its effect, as a sentence after the number of clips.
        counts: All clips by their value.
        num_clips: Number of clips with an unusual value.
    """

    title: str
    note: str
    counts: Counts
    num_clips: int


@dataclasses.dataclass(frozen=True)
class Copy:
    """One of several clips with the same content."""

    id: str
    split: str
    label: str


@dataclasses.dataclass(frozen=True)
class Copies:
    """Groups of usable clips with the same bytes and segment.

    Attributes:
        across_splits: Groups with clips in several splits.
        within_split: Groups with clips in one split.
    """

    across_splits: list[list[Copy]]
    within_split: list[list[Copy]]


def count_properties(usable: Sequence[CheckedClip]) -> Properties:
    """Count clips by the properties of their files; rare sizes, codecs and rates come last."""
    return Properties(
        frames=_by_value(_counts(usable, lambda one: str(one.num_frames))),
        sizes=_by_count(_counts(usable, lambda one: f"{one.info.width}x{one.info.height}")),
        codecs=_by_count(_counts(usable, lambda one: one.info.codec)),
        fps=_by_count(_counts(usable, lambda one: f"{one.info.fps:.5g}")),
        rotations=_by_value(_counts(usable, lambda one: str(one.info.rotation))),
        pixel_aspects=_by_count(_counts(usable, lambda one: one.info.pixel_aspect)),
        dynamic_ranges=_by_count(_counts(usable, lambda one: one.info.dynamic_range)),
        streams=_by_value(_counts(usable, lambda one: str(one.info.num_streams))),
        scans=_by_count(_counts(usable, lambda one: _SCANS[one.info.interlaced])),
        frame_sizes=_by_value(_counts(usable, lambda one: str(one.info.num_sizes))),
        lost_pictures=_by_value(_counts(usable, lambda one: str(one.info.num_lost))),
    )


def unusual_properties(found: Properties) -> list[Unusual]:
    """The properties of which some clips have an unusual value."""
    properties = (
        (
            *("Pictures lost at the start", found.lost_pictures, "0"),
            "pictures before the first frame can't be decoded; the recording was cut.",
        ),
        (
            *("Pixel aspect ratio", found.pixel_aspects, "1:1"),
            "pixels are not square; frames are scaled.",
        ),
        (
            *("Dynamic range", found.dynamic_ranges, SDR),
            "high dynamic range or wide gamut, mapped to SDR.",
        ),
        (
            *("Frame sizes in one file", found.frame_sizes, "1"),
            "the frame size changes; frames are scaled to the first size.",
        ),
        (
            *("Video streams", found.streams, "1"),
            "several video streams; the one that FFmpeg chooses is read.",
        ),
        ("Scan", found.scans, _SCANS[0], "interlaced; each frame has both fields."),
    )
    return [
        Unusual(title, note, counts, num_clips)
        for title, counts, usual, note in properties
        if (num_clips := sum(sum(counts[value].values()) for value in counts if value != usual))
    ]


def count_labels(usable: Iterable[CheckedClip], labels: Sequence[str]) -> Counts:
    """Count the clips of each label, in the order of `labels`."""
    counts = _counts(usable, lambda one: one.clip.label)
    return {label: counts.get(label, dict.fromkeys(SPLITS, 0)) for label in labels}


def find_copies(usable: Iterable[CheckedClip]) -> Copies:
    """Group clips with the same bytes and segment."""
    by_content = defaultdict(list)
    for one in usable:
        copy = Copy(one.clip.id, one.split, one.clip.label)
        by_content[one.sha256, one.clip.segment, one.clip.seconds].append(copy)
    groups = [group for group in by_content.values() if len(group) > 1]
    return Copies(
        across_splits=[group for group in groups if len({copy.split for copy in group}) > 1],
        within_split=[group for group in groups if len({copy.split for copy in group}) == 1],
    )


def find_shared_signers(usable: Iterable[CheckedClip]) -> dict[str, list[str]]:
    """Map each signer whose clips are in several splits to these splits."""
    splits_of = defaultdict(set)
    for one in usable:
        splits_of[one.clip.signer].add(one.split)
    return {
        signer: [split for split in SPLITS if split in splits]
        for signer, splits in sorted(splits_of.items())
        if signer and len(splits) > 1
    }


def extremes(labels: Mapping[str, Mapping[str, int]], split: str) -> tuple[int, int, int]:
    """Minimum, median and maximum number of clips of the labels that a split has."""
    counts = sorted(splits[split] for splits in labels.values() if splits[split])
    return (counts[0], counts[len(counts) // 2], counts[-1]) if counts else (0, 0, 0)


def _counts(usable: Iterable[CheckedClip], value: Callable[[CheckedClip], str]) -> Counts:
    counts: Counts = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for one in usable:
        counts[value(one)][one.split] += 1
    return dict(counts)


def _by_value(counts: Counts) -> Counts:
    return {value: counts[value] for value in sorted(counts, key=int)}


def _by_count(counts: Counts) -> Counts:
    order = Counter({value: sum(splits.values()) for value, splits in counts.items()})
    return {value: counts[value] for value, _ in order.most_common()}
