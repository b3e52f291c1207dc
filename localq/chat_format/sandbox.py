"""A Jinja environment for templates that strangers wrote: they come with downloaded models.

Jinja's own sandbox keeps a template away from Python. This one also bounds the time it takes and
the size of what it makes. Jinja has no `while`, so every long run goes through a loop, a call or a
filter, and those look at the clock. And no value ever weighs more than MAX_SIZE: that is checked
where values are made, beforehand where they could be many times larger than what they are made of.
It bounds all that may be done with them later, be it printing, comparing or hashing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localq.chat_format.dialect import (
    BOUNDED_CONCAT,
    BOUNDED_LITERAL,
    BOUNDED_LOOP,
    BOUNDED_SLICE,
    Bounds,
    GenerationBlock,
    raise_exception,
    strftime_now,
    tojson,
)
from localq.chat_format.limits import (
    MAX_INT_BITS,
    MAX_SIZE,
    RenderBudget,
    check_growth,
    listed,
    product,
    too_large,
    weigh,
)

__all__ = ["BoundedEnvironment"]

_POINTER_SIZE = 8
_UNNEEDED = ("lipsum", "cycler", "joiner")
_JINJAS_OWN = frozenset(["_loop_vars", "_block_vars"])  # keywords it adds to calls
# Filters whose result is a part of what they are given.
_CHOOSING = frozenset(
    [
        "attr",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "items",
        "last",
        "length",
        "list",
        "max",
        "min",
        "random",
        "reject",
        "rejectattr",
        "select",
        "selectattr",
        "sort",
        "unique",
    ]
)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """For one rendering at a time, each with a `budget` of its own."""

    intercepted_binops = frozenset(["+", "*", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, GenerationBlock],
            finalize=self._printable,
        )
        self.budget = RenderBudget()
        for name in _UNNEEDED:
            del self.globals[name]
        self.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
        filters = {**self.filters, "tojson": tojson}
        self.filters = {name: self._bounded(name, f) for name, f in filters.items()}
        self.filters |= {
            BOUNDED_CONCAT: self.concat,
            BOUNDED_LITERAL: self._count,
            BOUNDED_LOOP: self._each,
            BOUNDED_SLICE: self._sliced,
        }

    # What Jinja calls.

    def concat(self, parts: Iterable[Any]) -> str:
        """Join output, macro bodies and the operands of `~`."""
        total = 0
        texts: list[str] = []
        for part in parts:
            text = part if isinstance(part, str) else str(self._printable(part))
            total += len(text)
            if total > MAX_SIZE:
                too_large()
            texts.append(text)
        self.budget.spend(total)
        return "".join(texts)

    def call(
        __self,  # noqa: N805 - as in Jinja: a template's keywords may be named `self`
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        __self.budget.check_time()
        args = tuple(listed(arg) for arg in args)
        method = getattr(__obj, "__wrapped__", __obj)  # str.format arrives wrapped by Jinja
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | int):
            values = [*args, *(kwargs[key] for key in kwargs if key not in _JINJAS_OWN)]
            check_growth(method.__name__, owner, values)
        result = super().call(__context, __obj, *args, **kwargs)
        return __self._count(result, new=not isinstance(owner, dict | list | tuple))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*" and isinstance(left, Sized) != isinstance(right, Sized):
            if product(len(x) if isinstance(x, Sized) else x for x in (left, right)) > MAX_SIZE:
                too_large()
        elif operator == "%" and isinstance(left, str | bytes):
            check_growth("format", left, [right])
        elif operator == "**" and abs(right) * int(abs(left)).bit_length() > MAX_INT_BITS:
            too_large()
        return self._count(super().call_binop(context, operator, left, right))

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Refuse at once, where Jinja waits until the value is used."""
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is out of bounds")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = Bounds().visit(super()._parse(source, name, filename))
        return tree

    # What they come down to.

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        skip = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)  # Jinja's marks on the function come along
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self.budget.check_time()
            given = [listed(arg) for arg in args[skip:]]
            check_growth(name, given[0] if given else "", [*given[1:], *kwargs.values()])
            result = listed(function(*args[:skip], *given, **kwargs))
            return self._count(result, new=name not in _CHOOSING)

        return bounded

    def _printable(self, value: Any) -> Any:
        self.budget.spend(len(value) if isinstance(value, str) else weigh(value))
        return value

    def _count(self, value: Any, new: bool = True) -> Any:
        """`value`, counted among what is made; not `new`: it is a part of another value."""
        self.budget.spend(weigh(value) if new else _POINTER_SIZE)
        return value

    def _sliced(self, value: Any) -> Any:
        if isinstance(value, Sized):
            self.budget.spend(len(value) * (1 if isinstance(value, str) else _POINTER_SIZE))
        return value

    def _each(self, values: Any) -> _Each:
        return _Each(values, self.budget.check_time)


class _Each:
    """What a loop runs over, looking at the clock for each item."""

    def __init__(self, values: Any, check: Callable[[], None]) -> None:
        self._values = values
        self._check = check

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self._check()
            yield value

    def __len__(self) -> int:
        return len(self._values)
