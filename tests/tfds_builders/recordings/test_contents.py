"""Rules for names of labels."""

import pytest

from tfds_builders.recordings.contents import lookalike_warnings


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["hello", "Hello"], "'Hello' and 'hello'"),
        (["thank you", "thank  you"], "'thank  you' and 'thank you'"),
        (["\ufb01ve", "five"], "'five' and '\ufb01ve'"),
        (["a\u200bb", "ab"], "and"),
        (["straße", "STRASSE"], "'STRASSE' and 'straße'"),
    ],
)
def test_lookalike_warnings_name_labels_that_differ_invisibly(labels, alike):
    (warning,) = lookalike_warnings([*labels, "other", "other"])
    assert alike in warning
    assert "1 group(s)" in warning


def test_lookalike_warnings_of_different_labels_is_empty():
    assert lookalike_warnings(["a", "b", "é", "e", "a"]) == []
