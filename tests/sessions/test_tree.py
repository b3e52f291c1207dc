"""The tree of messages, against what a tree must be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from localq.sessions.tree import MessageTree


@dataclass(frozen=True, slots=True)
class Node:
    id: int
    parent_id: int | None


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for number in range(1, draw(st.integers(0, 25)) + 1):
        earlier = [node.id for node in nodes]
        parent = draw(st.sampled_from([None, *earlier]))
        nodes.append(Node(number * 3, parent))
    return draw(st.permutations(nodes))


@settings(max_examples=30)
@given(trees())
def test_every_message_is_on_the_path_to_a_leaf(nodes: list[Node]) -> None:
    tree = MessageTree(nodes)
    assert len(tree) == len(nodes)
    assert [node.id for node in tree] == sorted(node.id for node in nodes)
    reached = {node.id for leaf in tree.leaves() for node in tree.path(leaf)}
    assert reached == {node.id for node in nodes}


@settings(max_examples=30)
@given(trees())
def test_a_path_goes_from_parent_to_child(nodes: list[Node]) -> None:
    tree = MessageTree(nodes)
    for node in nodes:
        path = tree.path(node.id)
        assert path[0].parent_id is None
        assert path[-1] is tree[node.id]
        for before, after in pairwise(path):
            assert after.parent_id == before.id
            assert after.id in tree.children(before.id)


@settings(max_examples=30)
@given(trees())
def test_the_place_among_siblings(nodes: list[Node]) -> None:
    tree = MessageTree(nodes)
    for node in nodes:
        siblings = tree.children(node.parent_id)
        place = tree.place(node.id)
        assert siblings[place.number - 1] == node.id
        assert place.count == len(siblings)


@settings(max_examples=30)
@given(trees())
def test_every_branch_is_reached_step_by_step(nodes: list[Node]) -> None:
    tree = MessageTree(nodes)
    walked = [tree.end_beside(None, -1)]
    while walked[-1] is not None:
        walked.append(tree.end_beside(walked[-1], -1))
    backwards = [end for end in walked if end is not None]
    assert sorted(backwards) == list(tree.leaves())
    for earlier, later in pairwise(reversed(backwards)):
        assert tree.end_beside(earlier, 1) == later
        # Siblings in the order in which they were said.
        apart = next(
            (a, b) for a, b in zip(tree.path(earlier), tree.path(later), strict=False) if a != b
        )
        assert apart[0].id < apart[1].id
    assert tree.end_beside(None, 1) is None
    for node in nodes:
        below = [end for end in backwards if node in tree.path(end)]
        if node.id not in tree.leaves():
            assert tree.end_beside(node.id, -1) == below[0]
            after = backwards.index(below[0])
            assert tree.end_beside(node.id, 1) == (backwards[after - 1] if after else None)


@settings(max_examples=30)
@given(trees())
def test_the_newest_leaf_is_where_was_spoken_last(nodes: list[Node]) -> None:
    tree = MessageTree(nodes)
    assert tree.newest_leaf() == max((node.id for node in nodes), default=None)
    for node in nodes:
        below = [leaf for leaf in tree.leaves() if node in tree.path(leaf)]
        assert tree.newest_leaf(node.id) == max(below)


@settings(max_examples=30)
@given(trees(), st.data())
def test_of_a_damaged_tree_nothing_is_out_of_reach(nodes: list[Node], data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.sampled_from([node.id for node in nodes]))) if nodes else set()
    left = [node for node in nodes if node.id not in lost]
    tree = MessageTree(left)
    reached = {node.id for leaf in tree.leaves() for node in tree.path(leaf)}
    assert reached == {node.id for node in left}
