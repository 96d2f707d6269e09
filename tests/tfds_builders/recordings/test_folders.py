"""Recordings in folders of labels."""

import os
import shutil

from tests.helpers.dataset_trees import put
from tests.helpers.errors import raises
from tfds_builders.recordings.folders import read_folder
from tfds_builders.sources import SourceError


def test_read_folder_lists_all_problems(source):
    put(source, ["top.mp4", "two\nlines/a.mp4", "hi/a.mp4"])
    put(source, [os.fsdecode(b"latin\xfc/a.mp4")])
    with raises(SourceError) as caught:
        read_folder(source)
    assert sorted(caught.value.problems) == [
        "'latin\\udcfc/a.mp4': the name isn't UTF-8",
        "'two\\nlines/a.mp4': line break in the name",
        "top.mp4: not in a folder named as its label",
    ]


def test_read_folder_follows_links_but_not_loops(source, tmp_path):
    put(tmp_path / "elsewhere", ["a.mp4"])
    put(source, ["bye/b.mp4"])
    (source / "hello").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert [clip.id for clip in read_folder(source).clips] == ["bye/b.mp4", "hello/a.mp4"]


def test_read_folder_of_one_label_raises(source):
    put(source, [f"rec/{label}/{i}.mp4" for label in "ab" for i in range(3)])
    put(source, ["docs/notes.txt"])
    with raises(SourceError, problem="one label for all 6 clips: rec"):
        read_folder(source)


def test_read_folder_refuses_blank_labels_and_composes_accents(source):
    put(source, [f" /{i}.mp4" for i in range(3)] + [f"a/{i}.mp4" for i in range(3)])
    with raises(SourceError, problem="the folder's name, its label, is blank"):
        read_folder(source)
    shutil.rmtree(source / " ")
    put(source, ["cafe\u0301/0.mp4", "cafe\u0301/1.mp4", "caf\u00e9/2.mp4"])
    assert {clip.label for clip in read_folder(source).clips} == {"a", "caf\u00e9"}
