import types

from dstadapter_jax.benchmark import program
from dstadapter_jax.data.normalization import normalize


def test_compile_seconds_include_tracing(tiny_models, monkeypatch):
    traced = []
    monkeypatch.setattr(program, "normalize", lambda clips: traced.append(1) or normalize(clips))
    clock = types.SimpleNamespace(
        perf_counter=lambda: len(traced)
    )  # advances only when the program is traced
    monkeypatch.setattr(program, "time", clock)
    assert program.Program(program.Setting(tune="head")).compile_seconds > 0
