"""The messages of a session as a tree: an edit begins a branch, a second reply is a sibling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["MessageTree", "N", "Place"]


class _Node(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def parent_id(self) -> int | None: ...


N = TypeVar("N", bound=_Node)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands among those that have the same parent: `number` of `count`, from 1."""

    number: int
    count: int


class MessageTree(Generic[N]):
    """Messages by number; a parent has a lower one than its children. A message whose parent is
    not there counts as a first one, so that nothing of a damaged session is out of reach."""

    def __init__(self, messages: Iterable[N]) -> None:
        self._nodes = {node.id: node for node in sorted(messages, key=lambda node: node.id)}
        self._children: dict[int | None, list[int]] = {}
        for node in self._nodes.values():
            self._children.setdefault(self._parent(node), []).append(node.id)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._nodes

    def __getitem__(self, id_: int) -> N:
        """KeyError where there is no such message."""
        return self._nodes[id_]

    def __iter__(self) -> Iterator[N]:
        """All messages, the oldest first."""
        return iter(self._nodes.values())

    def children(self, id_: int | None) -> tuple[int, ...]:
        """What follows the message, the oldest first; None: what a branch may begin with."""
        return tuple(self._children.get(id_, ()))

    def path(self, leaf_id: int | None) -> tuple[N, ...]:
        """From the first message to this one; nothing for None."""
        found: list[N] = []
        while leaf_id is not None:
            node = self._nodes[leaf_id]
            found.append(node)
            leaf_id = self._parent(node)
        return tuple(reversed(found))

    def place(self, id_: int) -> Place:
        """Where the message stands among its siblings."""
        ids = self._children[self._parent(self._nodes[id_])]
        return Place(ids.index(id_) + 1, len(ids))

    def newest_leaf(self, id_: int | None = None) -> int | None:
        """The end of the branch below the message that was spoken on last; of all, for None."""
        if id_ is None:
            return max(self._nodes, default=None)
        # Children have higher numbers: a message's newest descendant is what was said last there.
        newest: dict[int, int] = {}
        for node in reversed(self._nodes.values()):
            top = newest.setdefault(node.id, node.id)
            parent = self._parent(node)
            if parent is not None:
                newest[parent] = max(top, newest.get(parent, 0))
        return newest[id_]

    def end_beside(self, id_: int | None, step: int) -> int | None:
        """The end of the branch before (-1) or after (+1) this place, None where there is none. In
        this order the ends of what follows a message come before the place behind that message,
        and behind None are all."""
        order: list[int | None] = []
        waiting: list[int | None] = [None]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting += self._children.get(node, ())
        at = order.index(id_)
        there = order[:at][::-1] if step > 0 else order[at + 1 :]
        return next((node for node in there if node not in self._children), None)

    def leaves(self) -> tuple[int, ...]:
        """The ends of all branches, the oldest first."""
        return tuple(id_ for id_ in self._nodes if id_ not in self._children)

    def _parent(self, node: N) -> int | None:
        parent = node.parent_id
        return parent if parent in self._nodes else None
