"""Pickles read as data: nothing that a pickle names is imported, nothing of it is called.

A pickle is a program for a small stack machine that can call whatever it names (the opcodes stand in
Python's `pickletools`). The machine here builds numbers, texts and containers, and hands the names
and calls that its caller knows to functions of the caller's own.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

#: Opcodes whose argument is the value.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
#: Opcodes that make a value, a new one each time.
_NEW = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
#: A state dict of 10,000 tensors takes 400,000; an empty list takes one step, and 56 bytes of memory.
_MOST_STEPS = 10_000_000
#: Types of dictionary keys. A tuple that holds itself a million times over takes years to hash.
_KEYS = (str, int, float, bytes, type(None))


class Refused(ValueError):
    """`name` is what the pickle asks for and nobody vouches for, such as "posix.system"."""

    def __init__(self, name: str):
        self.name = name
        super().__init__(f"refuses {name}")


@dataclass(frozen=True)
class Name:
    """What a pickle calls "module.name"; no more than the text."""

    dotted: str


def load(
    stream: BinaryIO, known: Mapping[str, Callable[..., Any] | None], persistent: Callable[[Any], Any]
) -> Any:
    """The value of the pickle at the stream's position, which is left behind its end.

    known: dotted name -> what stands for a call of it, or None for a name that is never called.
        Instances are made as by a call; what a pickle sets on them afterwards is left out.
    persistent: what stands for a persistent id.
    Raises Refused for any other name, ValueError for a pickle that is damaged.
    """
    machine = _Machine(known, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == _MOST_STEPS:
                raise Refused(f"a pickle of more than {_MOST_STEPS:,} steps")
            machine.step(opcode.name, argument)
    except ValueError:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the pickle in it is damaged: {error}") from error
    if len(machine.stack) != 1:
        raise ValueError(f"the pickle in it is damaged: it ends with {len(machine.stack)} values")
    return machine.stack[0]


class _Machine:
    def __init__(self, known, persistent):
        self.known, self.persistent = known, persistent
        self.stack, self.marks, self.memo = [], [], {}

    def step(self, opcode, argument):
        stack = self.stack
        if opcode in _VALUES:
            stack.append(argument)
            return
        if opcode in _NEW:
            stack.append(_NEW[opcode]())
            return
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.last(int(opcode[-1]))))
            case "APPEND" | "APPENDS":
                items = self.last(1) if opcode == "APPEND" else self.since_mark()
                _of(stack[-1], list).extend(items)
            case "ADDITEMS":
                items = self.since_mark()
                _of(stack[-1], set).update(map(check_key, items))
            case "SETITEM" | "SETITEMS":
                items = self.last(2) if opcode == "SETITEM" else self.since_mark()
                pairs = zip(map(check_key, items[::2]), items[1::2], strict=True)
                _of(stack[-1], dict).update(pairs)
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self.name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(self.name(*self.last(2)))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self.last(2)
                stack.append(self.call(function, _of(arguments, tuple)))
            case "BUILD":
                self.last(1)
            case "BINPERSID":
                stack.append(self.persistent(*self.last(1)))
            case _:
                raise Refused(f"the opcode {opcode}")

    def last(self, count):
        if len(self.stack) < count:
            raise IndexError("it takes more than it has")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def since_mark(self):
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def name(self, module, name):
        dotted = f"{_of(module, str)}.{_of(name, str)}"
        dotted = re.sub(r"^__builtin__\.", "builtins.", dotted)  # as Python 2 has it
        if dotted not in self.known:
            raise Refused(dotted)
        return Name(dotted)

    def call(self, function, arguments):
        if not isinstance(function, Name) or self.known[function.dotted] is None:
            called = function.dotted if isinstance(function, Name) else f"a {type(function).__name__}"
            raise Refused(f"a call of {called}")
        return self.known[function.dotted](*arguments)


def _of(value, kind):
    if type(value) is not kind:
        raise TypeError(f"expected a {kind.__name__}, got a {type(value).__name__}")
    return value


def check_key(value: Any) -> Any:
    """`value`, which may be a key of a dictionary. Raises Refused for one that may not."""
    if not isinstance(value, _KEYS):
        raise Refused(f"a {type(value).__name__} as key")
    return value
