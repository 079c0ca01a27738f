import random
from collections.abc import Iterator, Sequence
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autore_cli.grammar import Cursor, ListGrammar, Trie

SEPARATOR, END, JOINER = 0, 1, 2
Entries = list[tuple[int, ...]]
Item = tuple[int, ...]


def names(longest: int, most: int, tokens: st.SearchStrategy[int]) -> st.SearchStrategy[Entries]:
    return st.lists(st.lists(tokens, max_size=longest).map(tuple), max_size=most)


@st.composite
def tables(draw: st.DrawFn, fields: int, longest: int, most: int) -> list[Entries]:
    """Each field's entries: some empty, some twice, some with a control id, many prefixes of one another."""
    tokens = st.sampled_from([3, 4, 5, 3, 4, 5, 3, 4, SEPARATOR, END, JOINER])
    return [draw(names(longest, most, tokens)) for _ in range(draw(st.integers(1, fields)))]


def grammar_of(table: Sequence[Entries], max_items: int = 64) -> ListGrammar:
    return ListGrammar(tuple(map(Trie, table)), SEPARATOR, END, JOINER, max_items)


def possible_items(table: Sequence[Entries]) -> list[Item]:
    """All the items of a grammar, worked out without a trie."""
    reachable = [
        [
            i
            for i, name in enumerate(names)
            if name and not {SEPARATOR, END, JOINER} & {*name} and i == names.index(name)
        ]
        for names in table
    ]
    return list(product(*reachable))


def written(table: Sequence[Entries], items: Sequence[Item]) -> tuple[int, ...]:
    tokens: list[int] = []
    for item in items:
        for names, entry in zip(table, item, strict=True):
            tokens += [*names[entry], JOINER]
        tokens[-1] = SEPARATOR
    return (*tokens[:-1], END)


def split(tokens: Sequence[int], at: int) -> list[tuple[int, ...]]:
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == at:
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts]


def parsed(table: Sequence[Entries], tokens: Sequence[int]) -> list[Item]:
    """Reads a written list by its control ids alone."""
    *body, end = tokens
    assert end == END
    items = split(body, SEPARATOR) if body else []
    return [tuple(names.index(name) for names, name in zip(table, split(item, JOINER), strict=True)) for item in items]


def walk(cursor: Cursor, choose: random.Random) -> Iterator[tuple[int, bool]]:
    while not cursor.done:
        token = choose.choice(cursor.allowed())
        yield token, cursor.advance(token)


def going_on(cursor: Cursor, choose: random.Random) -> int:
    """Any allowed token, the end only when nothing else is."""
    allowed = cursor.allowed()
    return choose.choice([token for token in allowed if token != END] or list(allowed))


def language(grammar: ListGrammar, tokens: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every token sequence that the cursor lets through."""
    cursor = grammar.start()
    for token in tokens:
        cursor.advance(token)
    if cursor.done:
        yield tokens
        return
    allowed = cursor.allowed()
    assert allowed, "a dead end"
    for token in allowed:
        yield from language(grammar, (*tokens, token))


@given(tables(fields=2, longest=2, most=3), st.integers(0, 3))
@settings(deadline=None)
def test_the_language_is_the_lists_of_distinct_items_each_written_in_one_way(
    table: list[Entries], max_items: int
) -> None:
    lists = [chosen for count in range(max_items + 1) for chosen in permutations(possible_items(table), count)]
    through = list(language(grammar_of(table, max_items)))
    assert len(through) == len(set(through)) == len(lists)
    assert set(through) == {written(table, chosen) for chosen in lists}


@given(tables(fields=3, longest=4, most=12), st.integers(0, 20), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_random_walk_ends_with_distinct_items_that_its_tokens_parse_to(
    table: list[Entries], max_items: int, choose: random.Random
) -> None:
    cursor = grammar_of(table, max_items).start()
    steps = list(walk(cursor, choose))
    tokens = [token for token, _ in steps]
    longest = sum(max(map(len, names), default=0) + 1 for names in table)
    assert len(tokens) <= max_items * longest + 1
    assert len(set(cursor.items)) == len(cursor.items) == sum(completed for _, completed in steps) <= max_items
    assert set(cursor.items) <= set(possible_items(table))
    assert parsed(table, tokens) == cursor.items
    assert cursor.allowed() == []


@given(tables(fields=3, longest=4, most=8), st.data())
@settings(deadline=None)
def test_any_list_of_distinct_items_can_be_written(table: list[Entries], data: st.DataObject) -> None:
    items = data.draw(st.permutations(possible_items(table)))[:12]
    cursor = grammar_of(table, len(items)).start()
    for token in written(table, items):
        assert token in cursor.allowed()
        completed = cursor.advance(token)
        assert completed == (token in (SEPARATOR, END) and bool(items))
    assert cursor.items == items
    assert cursor.done


@given(tables(fields=3, longest=3, most=4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_list_that_never_ends_by_choice_lists_everything(table: list[Entries], choose: random.Random) -> None:
    cursor = grammar_of(table, max_items=1000).start()
    while not cursor.done:
        cursor.advance(going_on(cursor, choose))
    assert sorted(cursor.items) == possible_items(table)


@given(tables(fields=2, longest=2, most=3), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_advance_takes_what_is_allowed_and_nothing_else(table: list[Entries], choose: random.Random) -> None:
    cursor = grammar_of(table).start()
    for _ in range(40):
        before = cursor.allowed()
        assert len(set(before)) == len(before)
        for token in set(range(7)) - set(before):
            with pytest.raises(ValueError, match=f"token {token} is not allowed"):
                cursor.advance(token)
            assert cursor.allowed() == before
        if not cursor.done:
            cursor.advance(going_on(cursor, choose))


@given(names(4, 20, st.integers(3, 6)))
def test_a_trie_counts_distinct_entries(entries: Entries) -> None:
    trie = Trie(entries)
    distinct = {entry for entry in entries if entry}
    assert len(trie) == len(distinct)
    assert {i for i in trie.terminal if i >= 0} == {entries.index(entry) for entry in distinct}
    for entry in distinct:
        path = trie.path(entries.index(entry))
        assert trie.terminal[path[-1]] == entries.index(entry)
        for depth, node in enumerate(path):
            assert trie.counts[node] == sum(other[:depth] == entry[:depth] for other in distinct)


def test_an_entry_can_go_on_or_finish_and_is_pruned_once_used() -> None:
    cursor = grammar_of([[(3,), (3, 4)]]).start()
    assert cursor.allowed() == [3, END]
    cursor.advance(3)
    assert cursor.allowed() == [4, SEPARATOR, END]
    assert cursor.advance(SEPARATOR)
    assert cursor.items == [(0,)]
    assert cursor.allowed() == [3]
    cursor.advance(3)
    assert cursor.allowed() == [4]
    cursor.advance(4)
    assert cursor.allowed() == [END]
    assert cursor.advance(END)
    assert cursor.items == [(0,), (1,)]


def test_a_prefix_of_fields_is_exhausted_with_its_last_tuple() -> None:
    cursor = grammar_of([[(3,), (4,)], [(5,)], [(6,), (7,)]]).start()
    for token in written([[(3,), (4,)], [(5,)], [(6,), (7,)]], [(0, 0, 0), (0, 0, 1)])[:-1]:
        cursor.advance(token)
    cursor.advance(SEPARATOR)
    assert cursor.allowed() == [4]


def test_the_empty_list_completes_no_item() -> None:
    cursor = grammar_of([[(3,)]]).start()
    assert not cursor.advance(END)
    assert cursor.done
    assert cursor.items == []


@pytest.mark.parametrize("table", [[[]], [[(3,)], []], [[], [(3,)]], [[(3, SEPARATOR), ()]]])
def test_without_a_possible_item_there_is_only_the_end(table: list[Entries]) -> None:
    cursor = grammar_of(table).start()
    assert cursor.allowed() == [END]
    with pytest.raises(ValueError, match="not allowed"):
        cursor.advance(3)


def test_max_items_leaves_only_the_end() -> None:
    assert grammar_of([[(3,), (4,)]], max_items=0).start().allowed() == [END]
    cursor = grammar_of([[(3,), (4,)]], max_items=1).start()
    cursor.advance(3)
    assert cursor.allowed() == [END]


def test_entries_with_control_ids_are_dropped_once_for_all_grammars() -> None:
    trie = Trie([(3, SEPARATOR, 4), (4,), (3, 5)])
    first, second = (ListGrammar((trie,), SEPARATOR, END) for _ in range(2))
    assert first.fields[0] is second.fields[0]
    assert ListGrammar((trie,), 8, 9).fields[0] is trie
    cursor = first.start()
    assert cursor.allowed() == [4, 3, END]
    cursor.advance(3)
    cursor.advance(5)
    cursor.advance(END)
    assert cursor.items == [(2,)]


def test_cursors_of_one_grammar_do_not_disturb_each_other() -> None:
    grammar = grammar_of([[(3,), (4,)]])
    first, second = grammar.start(), grammar.start()
    first.advance(3)
    first.advance(SEPARATOR)
    assert first.allowed() == [4]
    assert second.allowed() == [3, 4, END]


def test_a_grammar_that_can_not_be_parsed_is_refused() -> None:
    trie = Trie([(3,)])
    with pytest.raises(ValueError, match="needs a field"):
        ListGrammar((), SEPARATOR, END)
    with pytest.raises(ValueError, match="joiner"):
        ListGrammar((trie, trie), SEPARATOR, END)
    with pytest.raises(ValueError, match="must differ"):
        ListGrammar((trie,), END, END)
    with pytest.raises(ValueError, match="max_items"):
        ListGrammar((trie,), SEPARATOR, END, max_items=-1)
