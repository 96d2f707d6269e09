"""Pickles that try to run something or to exhaust memory."""

import copyreg
import io
import os
import pickle
import struct
import subprocess
import tracemalloc

import pytest

from dstadapter_jax.pretrained.pytorch import unpickler as unpickler_module
from dstadapter_jax.pretrained.pytorch.unpickler import Opaque, RestrictedUnpickler


def loaded(content, functions=(), persistent_load=lambda reference: reference):
    return RestrictedUnpickler(dict(functions), persistent_load).load(io.BytesIO(content))


PLAIN = [
    None,
    [True, False, 0, -1, 255, 70_000, 2**40, -(2**70), 1.5, "é", b"\x00\xff", "x" * 300],
    {"a": (), "b": (1,), "c": (1, 2), "d": (1, 2, 3), "e": (1, 2, 3, 4), 5: {}, None: []},
    [[[]], {"x": {"y": [1]}}],
]


@pytest.mark.parametrize("protocol", range(6))
def test_load_of_plain_values_equals_pickle(protocol):
    functions = {"_codecs encode": lambda text, coding: text.encode(coding)}
    functions |= {"__builtin__ bytes": bytes}
    assert loaded(pickle.dumps(PLAIN, protocol), functions) == PLAIN


def test_load_of_shared_and_cyclic_values_keeps_identity():
    shared = ["x"]
    found = loaded(pickle.dumps([shared, shared]))
    assert found[0] is found[1]
    shared.append(shared)
    assert (cycle := loaded(pickle.dumps(shared)))[1] is cycle


class Attack:
    """Runs a function when `pickle` loads it."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def attacks(mark):
    """Pickles that create the file `mark` when `pickle` loads them."""
    command = f"touch {mark}"
    for protocol in range(6):
        yield pickle.dumps(Attack(os.system, (command,)), protocol)
        yield pickle.dumps(Attack(subprocess.run, (["touch", str(mark)],)), protocol)
        yield pickle.dumps({"state_dict": [Attack(exec, (f"open({str(mark)!r}, 'w')",))]}, protocol)
    line = command.encode()
    yield b"(S'" + line + b"'\nios\nsystem\n."
    yield b"(cos\nsystem\nS'" + line + b"'\no."
    yield b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(line)]) + line + b"\x85R."


def test_load_of_attacks_runs_nothing(tmp_path):
    mark = tmp_path / "mark"
    for content in attacks(mark):
        found = loaded(content)
        assert isinstance(found, Opaque | dict)
        assert not mark.exists()


def test_attacks_work_on_pickle_itself(tmp_path):
    mark = tmp_path / "mark"
    for content in attacks(mark):
        pickle.loads(content)
        mark.unlink()


@pytest.mark.linux
def test_load_of_extension_codes_raises():
    copyreg.add_extension("posix", "system", 240)
    try:
        content = pickle.dumps(os.system, 2)
    finally:
        copyreg.remove_extension("posix", "system", 240)
    for opcode in (content, b"\x83\x01\x02.", b"\x84\x01\x02\x03\x04."):
        with pytest.raises(ValueError, match="EXT"):
            loaded(opcode)


def test_load_calls_the_given_functions_alone():
    content = b"\x80\x02(cmodule\nname\nK\x02\x85Rcmodule\nother\nK\x02\x85Rl."
    first, second = loaded(content, {"module name": lambda n: n + 1})
    assert first == 3
    assert (type(second), second.name) == (Opaque, "module other")


def test_load_of_an_object_keeps_its_state():
    class_ = b"\x80\x02cmodule\nClass\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    found = loaded(class_)
    assert (found.name, found.state) == ("module Class", {"a": 1})


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b".x"[1:],
            b"\x80\x02",
            b"]",
            b"a.",
            b"0.",
            b"t.",
            b"R.",
            b"\x81.",
            b"b.",
            b"}(K\x01u.",
        ),
        *(b"h\x00.", b"\x85.", b"]a.", b"\x93.", b"NN\x93.", b"\x97.", b"\x98.", b"Q.", b"2."),
        b"I" + b"1" * 5000 + b"\n.",  # Python refuses to parse such a number
        b"\x8a\xff",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"X" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"V\\ud800\n}\x93.",
    ],
)
def test_load_of_malformed_pickles_raises(content):
    with pytest.raises(ValueError, match=r"."):
        loaded(content)


def peak_bytes(content):
    tracemalloc.start()
    try:
        found = loaded(content)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_load_with_a_huge_memo_index_takes_little_memory():
    found, peak = peak_bytes(b"Nr" + struct.pack("<I", 2**32 - 1) + b".")
    assert found is None
    assert peak < 1_000_000


@pytest.mark.parametrize("nested", [b"]" * 50_000 + b"a" * 49_999, b")" + b"\x85" * 50_000])
def test_load_of_deep_nesting_takes_memory_in_proportion(nested):
    found, peak = peak_bytes(nested + b".")
    assert isinstance(found, list | tuple)
    assert peak < 200 * len(nested)


@pytest.mark.parametrize("key", [b")" + b"\x85" * 50_000, b"]", b"}", b"cos\nsystem\n"])
def test_load_drops_keys_that_are_not_plain_values(key):
    assert loaded(b"}" + key + b"K\x01sK\x02K\x03s.") == {2: 3}
    assert loaded(b"(" + b")" + b"\x85" * 50_000 + b"\x91.") is not None


def test_load_of_names_that_are_joined_again_and_again_takes_little_memory():
    name = b"X" + struct.pack("<I", 100_000) + b"x" * 100_000
    content = b"(" + name + b"q\x00" + b"h\x00h\x00\x93" * 2000 + b"l."
    assert peak_bytes(content)[1] < 5_000_000


def test_load_of_too_many_instructions_raises(monkeypatch):
    monkeypatch.setattr(unpickler_module, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(ValueError, match="1,000"):
        loaded(b"]" * 2000 + b".")
