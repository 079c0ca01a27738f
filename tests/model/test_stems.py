"""Taking prompts apart: nothing is lost, nothing that is alike is read twice."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from autore_cli.model.packing import Run
from autore_cli.model.stems import share

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=12).map(sorted)


def seen(rest: Run, stems: Sequence[Run]) -> list[Run]:
    """What a prompt consists of, in the order in which it stands in its row."""
    return [stem for stem in stems if stem.segment <= rest.segment < stem.segment + stem.prompts] + [rest]


@given(prompts, st.integers(1, 3), st.integers(0, 5))
def test_each_prompt_is_its_stems_and_its_rest(asked: list[tuple[int, ...]], segment: int, position: int) -> None:
    stems, rests = share(asked, segment, position)
    assert [rest.segment for rest in rests] == list(range(segment, segment + len(asked)))
    for prompt, rest in zip(asked, rests, strict=True):
        at = position
        for run in seen(rest, stems):
            assert run.position == at
            at += len(run.tokens)
        assert tuple(token for run in seen(rest, stems) for token in run.tokens) == prompt
        assert rest.tokens, "its last token is its own"
        assert rest.prompts == 1


@given(prompts)
def test_nothing_is_read_twice(asked: list[tuple[int, ...]]) -> None:
    stems, rests = share(asked, 1, 0)
    shared = {prompt[:end] for prompt in asked for end in range(1, len(prompt))}
    assert sum(len(stem.tokens) for stem in stems) + sum(len(rest.tokens) for rest in rests) == len(shared) + len(asked)
    assert all(stem.prompts > 1 for stem in stems)


def test_the_example() -> None:
    words = sorted([("country", "|", "Oslo", "|", "Norway", "?"), ("country", "|", "Oslo", "|", "Sweden", "?"),
                    ("country", "|", "Turin", "|", "Italy", "?")])  # fmt: skip
    ids = {word: number for number, word in enumerate(sorted({word for prompt in words for word in prompt}))}
    stems, rests = share([[ids[word] for word in prompt] for prompt in words], 1, 10)
    names = {number: word for word, number in ids.items()}
    assert [([names[token] for token in run.tokens], run.position, run.prompts) for run in stems] == [
        (["country", "|"], 10, 3),
        (["Oslo", "|"], 12, 2),
    ]
    assert [[names[token] for token in run.tokens] for run in rests] == [
        ["Norway", "?"],
        ["Sweden", "?"],
        ["Turin", "|", "Italy", "?"],
    ]
