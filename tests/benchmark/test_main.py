import json

import jax
import pytest

from dstadapter_jax.benchmark import __main__ as command
from dstadapter_jax.benchmark import timing


def output(capsys, *arguments):
    assert command.main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_main_with_a_setting_reports_consistent_metrics(tiny_models, capsys, mode):
    found = output(capsys, "--mode", mode, "--batch", "2", "--repeats", "2")
    assert (found["mode"], found["batch"], found["tune"]) == (mode, 2, "adapter")
    assert found["clips_per_second"] == pytest.approx(2 / found["seconds"]["median"])
    assert 0 < found["data_wait_seconds"] < found["seconds"]["largest"]
    assert found["needed_flops_per_clip"] <= found["flops_per_clip"]
    assert found["memory_bytes"]["temporary"] > 0
    assert found["collective_bytes"] == {}
    assert found["share_of_product_rate"] > 0


@pytest.mark.slow
def test_main_with_compare_reports_ratios(tiny_models, capsys):
    two = "tune=adapter,remat=full", "tune=full,remat=none"
    found = output(capsys, "--mode", "train", "--repeats", "2", "--compare", *two)
    assert [found[name]["tune"] for name in "ab"] == ["adapter", "full"]
    assert found["a_to_b"]["needed_flops"] < 1
    assert found["a_to_b"]["temporary_bytes"] < 0.5


def test_main_with_mode_compile_loads_the_program_from_the_cache(tiny_models, capsys):
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    # JAX alone would not cache such small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 600.0)
    before = {name: getattr(jax.config, name) for name in timing.CACHE_OPTIONS}
    events = []

    def note(event, **_):
        events.append(event)

    jax.monitoring.register_event_listener(note)
    try:
        found = output(capsys, "--mode", "compile")
    finally:
        jax.monitoring.unregister_event_listener(note)
        after = {name: getattr(jax.config, name) for name in timing.CACHE_OPTIONS}
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    assert after == before
    assert (found["mode"], found["repeats"]) == ("compile", 1)
    assert found["compile_seconds"] > 0
    assert found["cached_seconds"] > 0
    # The program is compiled last.
    assert events[-1] == "/jax/compilation_cache/cache_hits"


WRONG = ["tune", "tune=all", "color=red", "batch=0", "mode=input", "mesh=8"]


@pytest.mark.parametrize("wrong", WRONG)
def test_main_with_a_wrong_compared_setting_exits_with_2(wrong):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--mode", "train", "--compare", wrong, "tune=full"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("compile --compare tune=full tune=head", "--compare compile"),
        ("input --batch 2 --compare tune=full tune=head", "--compare --batch"),
        ("eval --kinds autsl", "--kinds eval"),
        ("compile --repeats 3", "--repeats compile"),
    ],
)
def test_main_with_options_of_another_mode_exits_with_2_and_names_them(arguments, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--mode", *arguments.split()])
    error = capsys.readouterr().err
    assert all(name in error for name in named.split())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--mode", "inputs"], "'inputs'"),
        (["--mode", "input", "--repeats", "0"], "0"),
        (["--mode", "input", "--kinds", "vhs"], "'vhs'"),
    ],
)
def test_main_with_wrong_arguments_exits_with_2_and_names_them(arguments, found, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert found in error
    assert arguments[-2] in error
