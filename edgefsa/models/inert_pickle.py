"""Pickles read as data: nothing is imported, called or restored, so a hostile file can do nothing.

The opcodes are those of `pickletools`, and the stack machine here knows what each does to a stack of plain values.
Where Python's unpickler would import a name or call something, an `Inert` says what would have been called. Needs
neither torch nor NumPy.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import IO, Any

# Modules and built-in functions that no trainer's checkpoint names, and an attack does.
_HOSTILE_MODULES = frozenset(
    ("os", "posix", "nt", "sys", "subprocess", "pty", "runpy", "importlib", "shutil", "socket", "ctypes", "webbrowser")
    + ("torch.hub",)
)
_HOSTILE_BUILTINS = frozenset(("eval", "exec", "execfile", "compile", "open", "__import__", "input", "breakpoint"))
_LONGEST_NAME = 500
DAMAGED = "is damaged or no checkpoint; fetch or save it again"
_CALLS = frozenset(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"))


class ContentError(Exception):
    """Content that is damaged, hostile, or that no checkpoint has; says why, without the name of the file."""


class Global:
    """The name of a class or function, which was not imported."""

    __slots__ = ("name",)

    def __init__(self, module: str, name: str) -> None:
        self.name = f"{'builtins' if module == '__builtin__' else module}.{name}"


class Inert(dict[str, Any]):
    """What stands for an object: who would have made it, of what, and which state it would have been given.

    It holds the entries that the object would have had as a dictionary, as far as their keys are texts.
    """

    __slots__ = ("arguments", "maker", "state")

    def __init__(self, maker: str, arguments: tuple[Any, ...] = ()) -> None:
        super().__init__()
        self.maker = maker
        self.arguments = arguments
        self.state: Any = None


Persistent = Callable[[Any], Any]
Rebuild = Callable[[str, tuple[Any, ...]], Any]


def read_pickle(file: IO[bytes], *, persistent: Persistent | None = None, rebuild: Rebuild | None = None) -> Any:
    """Read one pickle from where `file` stands: lists, tuples, texts, numbers, dicts by text, and `Inert` for others.

    `persistent` turns a persistent id into a value, and `rebuild` gets the name of what would be called and its
    arguments, and returns the value, or None to leave an `Inert` there. Raises ContentError.
    """
    machine = _Machine(persistent, rebuild)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except ContentError:
        raise
    except Exception as error:  # bytes that are no pickle stop pickletools and the stack in every way there is
        raise ContentError(DAMAGED) from error


class _Machine:
    """The stack, the marks in it and the memo of one pickle."""

    def __init__(self, persistent: Persistent | None, rebuild: Rebuild | None) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.steps = self.copies = 0
        self.persistent = persistent
        self.rebuild = rebuild

    def step(self, name: str, argument: Any) -> None:
        """Do what one opcode does."""
        self.steps += 1
        if name in _CALLS:
            self.stack.append(self._call(name, argument))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(self._global(name, argument))
        elif name in ("PERSID", "BINPERSID"):
            self.stack.append(self._persistent(argument if name == "PERSID" else self.stack.pop()))
        elif name in _MEMO:
            _MEMO[name](self, argument)
        elif name in _OTHERS:
            _OTHERS[name](self)
        elif name in _VALUES:
            self.stack.append(argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ContentError(f"holds the pickle instruction {name}, which no checkpoint needs; save it again")

    def popped(self, count: int) -> tuple[Any, ...]:
        """Take so many values off the stack, in the order that they were put there."""
        if count > len(self.stack):
            raise IndexError("the stack is shorter")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def marked(self) -> tuple[Any, ...]:
        """Take the values above the last mark off the stack, and the mark."""
        return self.popped(len(self.stack) - self.marks.pop())

    def _global(self, name: str, argument: Any) -> Global:
        module, attribute = self.popped(2) if name == "STACK_GLOBAL" else argument.split(" ", 1)
        if not all(type(part) is str and len(part) <= _LONGEST_NAME for part in (module, attribute)):
            raise ContentError(DAMAGED)
        found = Global(module, attribute)
        roots = (found.name.split(".")[0], module)
        builtin = found.name.removeprefix("builtins.")
        if not _HOSTILE_MODULES.isdisjoint(roots) or (builtin != found.name and builtin in _HOSTILE_BUILTINS):
            raise ContentError(f"would run {found.name} when unpickled, so it was not loaded; do not trust its source")
        return found

    def _call(self, name: str, argument: Any) -> Any:
        if name == "INST":
            maker, arguments = self._global("GLOBAL", argument), self.marked()
        elif name == "OBJ":
            maker, *rest = self.marked()
            arguments = tuple(rest)
        else:
            maker, arguments, *_ = self.popped(3 if name == "NEWOBJ_EX" else 2)
        # What is called may be anything that was computed, such as a method that getattr would have given.
        called = maker.name if isinstance(maker, Global) else "something computed"
        arguments = arguments if isinstance(arguments, tuple) else ()
        made = None if self.rebuild is None else self.rebuild(called, arguments)
        if made is None:
            made = Inert(called, arguments)
            if called == "collections.OrderedDict" and arguments:  # as Python 2 wrote it
                _put(made, self._copied(arguments[0]))
        return made

    def _copied(self, pairs: Any) -> list[tuple[Any, Any]]:
        if type(pairs) is not list or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            raise ContentError(DAMAGED)
        self.copies += len(pairs)
        if self.copies > self.steps:  # the same list again and again, until the memory is full
            raise ContentError(DAMAGED)
        return [(pair[0], pair[1]) for pair in pairs]

    def _persistent(self, identifier: Any) -> Any:
        if self.persistent is None:
            raise ContentError(DAMAGED)
        return self.persistent(identifier)


def _put(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    # Other keys are of no use here, and the hash of a hostile one (tuples of tuples) may take for ever.
    if isinstance(target, dict):
        target.update((key, value) for key, value in pairs if type(key) is str)


def _couples(flat: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _new_dict(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    _put(made, pairs)
    return made


def _extend(target: Any, items: Iterable[Any]) -> None:
    if type(target) is list:
        target.extend(items)


def _append(machine: _Machine) -> None:
    (item,) = machine.popped(1)
    _extend(machine.stack[-1], [item])


def _appends(machine: _Machine) -> None:
    items = machine.marked()
    _extend(machine.stack[-1], items)


def _set_item(machine: _Machine) -> None:
    pair = machine.popped(2)
    _put(machine.stack[-1], _couples(pair))


def _set_items(machine: _Machine) -> None:
    pairs = _couples(machine.marked())
    _put(machine.stack[-1], pairs)


def _build(machine: _Machine) -> None:
    (state,) = machine.popped(1)
    if isinstance(machine.stack[-1], Inert):
        machine.stack[-1].state = state


def _pop(machine: _Machine) -> None:
    # A mark lies in Python's own stack as an item.
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.popped(1)


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _store(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


_VALUES = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    + ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
    + ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
)
_MEMO: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: _get(machine, int(index))),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, index: _store(machine, int(index))),
    "MEMOIZE": lambda machine, _: _store(machine, len(machine.memo)),
}
_OTHERS: dict[str, Callable[[_Machine], object]] = {
    "NONE": lambda machine: machine.stack.append(None),
    "NEWTRUE": lambda machine: machine.stack.append(True),
    "NEWFALSE": lambda machine: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine: machine.stack.append(()),
    "TUPLE1": lambda machine: machine.stack.append(machine.popped(1)),
    "TUPLE2": lambda machine: machine.stack.append(machine.popped(2)),
    "TUPLE3": lambda machine: machine.stack.append(machine.popped(3)),
    "TUPLE": lambda machine: machine.stack.append(machine.marked()),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "LIST": lambda machine: machine.stack.append(list(machine.marked())),
    "APPEND": _append,
    "APPENDS": _appends,
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "DICT": lambda machine: machine.stack.append(_new_dict(_couples(machine.marked()))),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    # A set is of no use here, and its items would have to be hashed.
    "EMPTY_SET": lambda machine: machine.stack.append(Inert("builtins.set")),
    "FROZENSET": lambda machine: machine.stack.append(Inert("builtins.frozenset", machine.marked())),
    "ADDITEMS": _Machine.marked,
    "BUILD": _build,
    "MARK": lambda machine: machine.marks.append(len(machine.stack)),
    "POP_MARK": _Machine.marked,
    "POP": _pop,
    "DUP": lambda machine: machine.stack.append(machine.stack[-1]),
}
