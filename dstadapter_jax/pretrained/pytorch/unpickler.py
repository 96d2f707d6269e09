"""Pickles read without running anything in them.

Plain values and containers are built. Calls are made only to the functions that the caller passes
by name; every other class, function and object becomes an `Opaque`, whatever the pickle asks to do
with it. Nothing is imported. Memory is bounded by the number of instructions, since none creates
more than one object.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_INSTRUCTIONS = 2_000_000  # ViT-L/14 with its optimizer's state takes 0.1 million
# Instructions whose argument is the value to push.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
}
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,  # elements are not hashed: hashes of nested ones recurse
    "EMPTY_DICT": dict,
}
MAX_NAME = 200  # characters of the names of modules, classes and functions
_KEYS = (str, int, float, bytes, type(None))  # types whose hashes do not recurse


class Opaque:
    """Stands for a class, a function or an object that is not built.

    Attributes:
        name: Module and name of the class or function.
        state: Attributes of an object, as far as the pickle sets them.
    """

    __slots__ = ("name", "state")

    def __init__(self, name: str):
        self.name = name
        self.state: dict[Any, Any] = {}


class RestrictedUnpickler:
    """Reader of one pickle.

    Attributes:
        functions: Functions that the pickle may call, by `module name`.
        persistent_load: Conversion of the pickle's references to outside objects.
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        persistent_load: Callable[[Any], Any],
    ):
        self.functions, self.persistent_load = functions, persistent_load
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def load(self, stream: io.BytesIO) -> Any:
        """Read the pickle at the stream's position, and stop behind it.

        Raises:
            ValueError: The pickle is truncated, corrupt or too long, or it has an instruction that
                PyTorch does not write.
        """
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count == MAX_INSTRUCTIONS:
                raise ValueError(f"a pickle of more than {MAX_INSTRUCTIONS:,} instructions")
            try:
                self._run(opcode.name, argument)
            except (LookupError, TypeError) as error:
                raise ValueError(f"instruction {opcode.name} at {position} fails") from error
        return self._stack.pop() if self._stack else None

    def _run(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"instruction {name}, which PyTorch does not write")

    def _pop_to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _mark(self, _: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_to_mark()

    def _pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, length: int) -> None:
        start = len(self._stack) - length
        if start < 0:
            raise IndexError
        self._stack[start:] = [tuple(self._stack[start:])]

    def _collect(self, kind: Callable[[list[Any]], Any]) -> None:
        items = self._pop_to_mark()
        self._stack.append(kind(items))

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], dict):
            self._stack[-1].update(_as_dict(items))

    def _global(self, name: str) -> None:
        self._stack.append(Opaque(name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError
        # Shortened: a malicious pickle could build ever longer names and exhaust memory.
        self._global(f"{module[:MAX_NAME]} {name[:MAX_NAME]}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self.call(function, arguments))

    def call(self, function: Any, arguments: Any) -> Any:
        """Result of a call in the pickle: an `Opaque`, unless it is to one of `functions`."""
        name = function.name if isinstance(function, Opaque) else ""
        if name in self.functions and isinstance(arguments, tuple):
            return self.functions[name](*arguments)
        return Opaque(name)

    def _new(self, arguments: int) -> None:
        del self._stack[len(self._stack) - arguments :]
        self._stack[-1] = self.call(self._stack[-1], ())

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], Opaque) and isinstance(state, dict):
            self._stack[-1].state = state

    def _persistent(self, reference: Any) -> None:
        self._stack.append(self.persistent_load(reference))


def _as_dict(items: list[Any]) -> dict[Any, Any]:
    """Dict of alternating keys and values; keys other than plain values are dropped."""
    pairs = zip(items[::2], items[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, _KEYS)}


_INSTRUCTIONS: Mapping[str, Callable[[RestrictedUnpickler, Any], None]] = {
    "MARK": RestrictedUnpickler._mark,
    "POP": RestrictedUnpickler._pop,
    "POP_MARK": RestrictedUnpickler._pop_mark,
    "DUP": RestrictedUnpickler._duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), RestrictedUnpickler._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), RestrictedUnpickler._get),
    "TUPLE1": lambda self, _: self._tuple(1),
    "TUPLE2": lambda self, _: self._tuple(2),
    "TUPLE3": lambda self, _: self._tuple(3),
    "TUPLE": lambda self, _: self._collect(tuple),
    "LIST": lambda self, _: self._collect(list),
    "FROZENSET": lambda self, _: self._collect(list),
    "DICT": lambda self, _: self._collect(_as_dict),
    "APPEND": lambda self, _: self._extend([self._stack.pop()]),
    "APPENDS": lambda self, _: self._extend(self._pop_to_mark()),
    "ADDITEMS": lambda self, _: self._extend(self._pop_to_mark()),
    "SETITEM": lambda self, _: self._update([self._stack.pop(-2), self._stack.pop()]),
    "SETITEMS": lambda self, _: self._update(self._pop_to_mark()),
    "GLOBAL": RestrictedUnpickler._global,
    "STACK_GLOBAL": RestrictedUnpickler._stack_global,
    "INST": lambda self, name: self._collect(lambda _: Opaque(name)),
    "OBJ": lambda self, _: self._collect(lambda items: Opaque(getattr(items[0], "name", ""))),
    "REDUCE": RestrictedUnpickler._reduce,
    "NEWOBJ": lambda self, _: self._new(1),
    "NEWOBJ_EX": lambda self, _: self._new(2),
    "BUILD": RestrictedUnpickler._build,
    "PERSID": RestrictedUnpickler._persistent,
    "BINPERSID": lambda self, _: self._persistent(self._stack.pop()),
}
