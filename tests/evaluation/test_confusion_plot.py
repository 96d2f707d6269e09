"""The confusion matrix as a picture."""

import numpy as np

from dstadapter_jax.evaluation.confusion_plot import draw_confusion


def test_draw_confusion_with_labels_of_any_script_writes_a_picture(tmp_path):
    names = ["a$^$", "Ё", "手語 🤟", "b_c" * 99]
    for shown in (names, names[:2]):
        path = tmp_path / f"{len(shown)}.png"
        draw_confusion(path, np.array([0, 1]), np.array([1, 1]), shown)
        assert path.read_bytes().startswith(b"\x89PNG")
