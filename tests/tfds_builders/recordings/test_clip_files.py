"""Files and folders that are clips."""

import shutil

import cv2
import numpy as np
import pytest

from tests.helpers.clips import barcoded_frames, write_clip
from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.recordings.folders import read_folder
from tfds_builders.sources import SourceError


def names(folder):
    return [clip.id for clip in read_folder(folder).clips]


@pytest.mark.parametrize("name", ["camcorder.MOD", "recorder.VRO", "no_suffix", "clip.mpg.part"])
def test_file_of_an_unknown_suffix_is_looked_into(source, name):
    write_clip(source.parent / "c.mpg", barcoded_frames(3, 64, 64), codec="mpeg2video")
    put(source, ["a/1.mp4", "b/1.mp4"])
    shutil.copy(source.parent / "c.mpg", source / "b" / name)
    put(source, ["b/notes.dat"], b"not a video")
    assert names(source) == sorted(["a/1.mp4", "b/1.mp4", f"b/{name}"])
    assert read_folder(source).ignored == ["b/notes.dat"]


def test_label_that_loses_all_its_files_is_an_error(source):
    put(source, ["a/1.mp4", "b/1.mp4"])
    put(source, ["c/1.xyz", "c/2.xyz"], b"not a video")
    put(source, ["docs/readme.txt"])
    with raises(SourceError, problem="c: none of its 2 file(s) is a video, such as c/1.xyz"):
        read_folder(source)


def test_folder_of_numbered_pictures_is_a_clip(source):
    for label in ("a", "b"):
        folder = source / label / "take 1"
        folder.mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(folder / f"{i:05}.jpg"), np.full((32, 32, 3), 90 * i, np.uint8))
    put(source, ["a/1.gif", "a/cover.jpg"])
    found = read_folder(source)
    assert [clip.id for clip in found.clips] == ["a/1.gif", "a/take 1", "b/take 1"]
    assert found.ignored == ["a/cover.jpg"]


def test_numbered_animations_are_clips_of_their_own(source):
    put(source, [f"{label}/take/{i}.webp" for label in "ab" for i in range(3)])
    assert len(names(source)) == 6
