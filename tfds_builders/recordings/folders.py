"""Recordings in folders that are named as their labels: `LABEL/clip.mp4`."""

from pathlib import Path

from dstadapter_jax.data.video.container import VIDEO_SUFFIXES
from tfds_builders.clip_examples import Clip
from tfds_builders.recordings.contents import Recordings, clean_name, name_problem
from tfds_builders.sources import SourceError, files_below, is_shown


def visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden, sorted; empty if it can't be listed."""
    try:
        return [path for path in sorted(folder.iterdir()) if is_shown(path.name)]
    except OSError:
        return []


def is_video(path: Path) -> bool:
    """Whether a file's suffix is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def has_labels(folder: Path) -> bool:
    """Whether a folder has folders and no videos directly in it."""
    entries = visible(folder)
    return any(path.is_dir() for path in entries) and not any(map(is_video, entries))


def read_folder(folder: Path) -> Recordings:
    """Read `LABEL/**/clip.mp4`; hidden files are ignored, signers are unknown.

    Raises:
        SourceError: A video is not in a label's folder, a name can't be stored, or all clips have
            the same label.
    """
    clips, ignored, problems = [], [], []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if not is_video(path):
            ignored.append(name)
        elif problem := _problem(name):
            problems.append(problem)
        else:
            clips.append(Clip(name, path, _label(name)))
    if problems:
        advice = "Expected LABEL/clip.mp4."
        if not clips:
            advice += " If this folder is one label, pass the folder above it."
        raise SourceError(str(folder), problems, advice)
    if len(labels := {clip.label for clip in clips}) == 1:
        problem = f"one label for all {len(clips)} clips: {labels.pop()}"
        advice = "Expected several. If the labels' folders lie deeper, pass the folder above them."
        raise SourceError(str(folder), [problem], advice)
    return Recordings(sorted(clips, key=lambda clip: clip.id), ignored=sorted(ignored))


def _label(name: str) -> str:
    return clean_name(name.split("/")[0])


def _problem(name: str) -> str:
    if "/" not in name:
        return f"{name}: not in a folder named as its label"
    if problem := name_problem(_label(name)) or name_problem(name):
        return f"{name!r}: {problem}"
    return "" if _label(name) else f"{name!r}: the folder's name, its label, is blank"
