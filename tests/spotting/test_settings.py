"""The file `spotting.json`."""

from dstadapter_jax.spotting.settings import FILE, load_settings, save_settings
from tests.helpers.errors import raises
from tests.helpers.streams import SETTINGS


def test_load_settings_reads_what_was_saved_for_the_step(tmp_path):
    save_settings(SETTINGS, tmp_path, 7)
    assert load_settings(tmp_path, 7, 2) == SETTINGS
    with raises(where=FILE, problem=("7", "8"), advice="--step 8"):
        load_settings(tmp_path, 8, 2)
    (tmp_path / FILE).write_text("{")
    with raises(where=FILE, advice="--step 7"):
        load_settings(tmp_path, 7, 2)
