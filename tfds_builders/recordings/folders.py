"""Recordings in folders that are named as their labels, and optionally as splits and signers."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePath

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from tfds_builders.clip_examples import Clip
from tfds_builders.recordings import layout as layouts
from tfds_builders.recordings.clip_files import OTHER_SUFFIXES, find_clips
from tfds_builders.recordings.contents import SPLIT_NAMES, Recordings, clean_name, name_problem
from tfds_builders.recordings.layout import Layout
from tfds_builders.sources import SourceError, is_shown


def visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden, sorted; empty if it can't be listed."""
    try:
        return [path for path in sorted(folder.iterdir()) if is_shown(path.name)]
    except OSError:
        return []


def has_video_suffix(path: Path) -> bool:
    """Whether a file's suffix is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def has_labels(folder: Path) -> bool:
    """Whether a folder has folders and no videos directly in it."""
    entries = visible(folder)
    return any(path.is_dir() for path in entries) and not any(map(has_video_suffix, entries))


def read_folder(folder: Path, layout: Layout | None = None) -> Recordings:
    """Read `LABEL/**/clip.mp4`, or folders of another layout; hidden files are ignored.

    Args:
        folder: The folder.
        layout: Levels of folders; None to find out.

    Raises:
        SourceError: A video is not in a label's folder, a name can't be stored, a folder of a label
            has files but no clip, all clips have the same label, or the layout is ambiguous.
    """
    names: list[str] = []
    ignored: list[str] = []
    for path, is_clip in find_clips(folder):
        (names if is_clip else ignored).append(path.relative_to(folder).as_posix())
    names.sort()
    if layout is None:
        layout = layouts.detect(names, str(folder))
    problems = [problem for name in names if (problem := _problem(name, layout))]
    _refuse(problems, folder, layout, any_clip=len(problems) < len(names))
    fields = {name: _fields(name, layout) for name in names}
    if names:
        _refuse(_empty_labels(ignored, fields, layout), folder, layout, any_clip=True)
    clips = [
        Clip(name, folder / name, clean_name(own["label"]), clean_name(own.get("signer", "")))
        for name, own in fields.items()
    ]
    if len(labels := {clip.label for clip in clips}) == 1:
        problem = f"one label for all {len(clips)} clips: {labels.pop()}"
        advice = "Expected several. If the labels' folders lie deeper, pass the folder above them."
        raise SourceError(str(folder), [problem], advice)
    split_of = {
        name: SPLIT_NAMES[own["split"].lower()] for name, own in fields.items() if "split" in own
    }
    splits_from = "the folders' names" if split_of else ""
    return Recordings(clips, split_of, splits_from, sorted(ignored))


def _refuse(problems: list[str], folder: Path, layout: Layout, *, any_clip: bool) -> None:
    if not problems:
        return
    levels = "/".join(level.upper() for level in layout)
    advice = f"Expected {levels}/clip.mp4."
    if not any_clip:
        advice += " If this folder is one label, pass the folder above it."
    raise SourceError(str(folder), problems, advice)


def _fields(name: str, layout: Layout) -> dict[str, str]:
    return dict(zip(layout, name.split("/"), strict=False))


def _problem(name: str, layout: Layout) -> str:
    if name.count("/") < len(layout):
        if layout == layouts.DEFAULT:
            return f"{name}: not in a folder named as its label"
        return f"{name}: has fewer levels of folders than --layout {'/'.join(layout)}"
    fields = _fields(name, layout)
    label = clean_name(fields["label"])
    if problem := name_problem(label) or name_problem(name):
        return f"{name!r}: {problem}"
    if "split" in fields and fields["split"].lower() not in SPLIT_NAMES:
        return f"{name}: the folder {fields['split']} is not named as a split"
    return "" if label else f"{name!r}: the folder's name, its label, is blank"


def _empty_labels(
    ignored: Iterable[str], fields: dict[str, dict[str, str]], layout: Layout
) -> list[str]:
    """Problems of folders at the level of labels that have files but no clip."""
    labels = {own["label"] for own in fields.values()}
    files = defaultdict(list)
    for name in sorted(ignored):
        if name.count("/") >= len(layout) and PurePath(name).suffix.lower() not in OTHER_SUFFIXES:
            files[_fields(name, layout)["label"]].append(name)
    return [
        f"{label}: none of its {len(names)} file(s) is a video, such as {names[0]}"
        for label, names in sorted(files.items())
        if label not in labels
    ]
