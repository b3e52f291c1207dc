"""The Jinja that chat templates are written in: Hugging Face's additions, and the places where
compiled templates would run plain Python sent through the environment instead."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from localq.chat_format.limits import too_large

__all__ = [
    "BOUNDED_CONCAT",
    "BOUNDED_LITERAL",
    "BOUNDED_LOOP",
    "BOUNDED_SLICE",
    "Bounds",
    "GenerationBlock",
    "RefusedError",
    "raise_exception",
    "strftime_now",
    "tojson",
]

# Names of filters, which no template can spell.
BOUNDED_CONCAT = "bounded concat"
BOUNDED_LITERAL = "bounded literal"
BOUNDED_LOOP = "bounded loop"
BOUNDED_SLICE = "bounded slice"


class RefusedError(Exception):
    """The template itself does not want this conversation."""


def raise_exception(message: str) -> NoReturn:
    raise RefusedError(message)


def strftime_now(format_: str) -> str:
    return datetime.now().strftime(format_)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Python writes it; Jinja's own filter escapes for HTML."""
    if indent is not None and not 0 <= indent <= 64:
        too_large()
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


class GenerationBlock(Extension):
    """`{% generation %}`, which marks what the model itself wrote, for training."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Bounds(NodeTransformer):
    """Wraps loops, `~`, slices and literals into the filters named above."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        assert isinstance(node.iter, nodes.Expr)
        node.iter = _filter(node.iter, BOUNDED_LOOP)
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node | list[nodes.Node]:  # noqa: N802
        """A namespace's list that grows or shrinks (`set _ = ns.ids.append(x)`) becomes another
        list in its place: no value changes, so none outgrows what it was weighed at."""
        self.generic_visit(node)
        match node.node:
            case nodes.Call(
                node=nodes.Getattr(
                    node=nodes.Getattr(node=nodes.Name(name=owner), attr=name) as values,
                    attr=method,
                ),
                args=[argument],
                kwargs=[],
                dyn_args=None,
                dyn_kwargs=None,
            ):
                line = node.lineno
                place = nodes.NSRef(owner, name, lineno=line)
                if method == "append":
                    more = nodes.List([argument], lineno=line)
                    return nodes.Assign(place, nodes.Add(values, more, lineno=line), lineno=line)
                if method == "pop" and isinstance(argument, nodes.Const) and argument.value == 0:
                    first = nodes.Getitem(values, argument, "load", lineno=line)
                    second = nodes.Slice(nodes.Const(1), None, None, lineno=line)
                    rest = nodes.Getitem(values, second, "load", lineno=line)
                    return [
                        nodes.Assign(node.target, first, lineno=line),
                        nodes.Assign(place, _filter(rest, BOUNDED_SLICE), lineno=line),
                    ]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), BOUNDED_CONCAT)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, BOUNDED_SLICE) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, BOUNDED_LITERAL) if node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, BOUNDED_LITERAL) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filter(node, BOUNDED_LITERAL) if node.items and node.ctx == "load" else node


def _filter(value: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)
