from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from autore_cli.scoring.matching import Matching

GRAPHS = st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4), max_size=6)


def largest(graph: list[list[int]]) -> int:
    """By trying every way to hand out the right nodes."""
    slots = [*range(5), *([None] * len(graph))]
    return max(
        (
            sum(right in options for right, options in zip(order, graph, strict=True))
            for order in set(permutations(slots, len(graph)))
        ),
        default=0,
    )


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), unique=True, max_size=3), max_size=4))
def test_the_matching_is_as_large_as_any(graph: list[list[int]]) -> None:
    matching: Matching[int] = Matching()
    for options in graph:
        matching.add(options)
    assert len(matching.owner) == largest(graph)


@settings(deadline=None)
@given(GRAPHS)
def test_what_is_matched_stays_matched_and_no_node_is_used_twice(graph: list[list[int]]) -> None:
    matching: Matching[int] = Matching()
    matched: set[int] = set()
    for left, options in enumerate(graph):
        if matching.add(options):
            matched.add(left)
        owners = list(matching.owner.values())
        assert set(owners) == matched
        assert len(owners) == len(matched)
    assert all(right in graph[left] for right, left in matching.owner.items())


def test_a_long_chain_needs_no_recursion() -> None:
    matching: Matching[int] = Matching()
    length = 5000
    for left in range(length):
        assert matching.add([left, left + 1])
    assert matching.add([0])
    assert len(matching.owner) == length + 1
