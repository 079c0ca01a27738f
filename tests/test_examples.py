"""Training examples: the right ones, the negatives, and none that says what nobody annotated."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.records import AnnotatedDocument, Document, Entity, Fact, Span
from autore_cli.schema import default
from autore_cli.stages import PARADIGMS, Template, default_prompts, paradigm

TEXT = "Vera Holm was born in Tarn. Holm wrote The Salt Road, set in Tarn, a town in Norland."


def spans(name: str) -> tuple[Span, ...]:
    found, start = [], TEXT.find(name)
    while start >= 0:
        found.append((start, start + len(name)))
        start = TEXT.find(name, start + 1)
    return tuple(found)


@pytest.fixture
def document() -> AnnotatedDocument:
    holm = tuple(sorted({*spans("Vera Holm"), spans("Holm")[1]}))
    entities = (
        Entity(holm, "PER"),
        Entity(spans("Tarn"), "LOC"),
        Entity(spans("The Salt Road"), "MISC"),
        Entity(spans("Norland"), "LOC"),
    )
    facts = (Fact(0, "P19", 1, (0,)), Fact(2, "P50", 0, (1,)), Fact(1, "P17", 3, (1,)), Fact(0, "P800", 2, (1,)))
    return AnnotatedDocument(Document("holm", TEXT), ((0, 27), (28, len(TEXT))), entities, facts)


def maker_of(name: str = "RHF", **settings: int | bool) -> ExampleMaker:
    stages = paradigm(name)
    prompts = replace(default_prompts(stages, "<s>", "</s>"), separator=";", joiner="|")
    return ExampleMaker(stages, prompts, default(), ExampleSettings(**settings))  # type: ignore[arg-type]


def made(document: AnnotatedDocument, name: str = "RHF", seed: int = 0, **settings: int | bool) -> list[Example]:
    return list(maker_of(name, **settings).make(document, random.Random(seed)))


def lists(examples: list[Example], stage: str) -> list[tuple[str, str]]:
    """The instructions and completions of a stage's lists."""
    return [
        ("".join(piece.text for piece in each.prompt.after), each.completion)
        for each in examples
        if each.stage == stage and each.kind == "list"
    ]


def test_each_relation_has_its_heads_and_each_head_its_tails(document: AnnotatedDocument) -> None:
    examples = made(document, negative_relations=0, negative_heads=0)
    heads = dict(lists(examples, "head"))
    assert len(heads) == 4
    assert {text.split("relation ")[1].split(".")[0]: completion for text, completion in heads.items()} == {
        "place of birth": "Vera Holm",
        "author": "The Salt Road",
        "country": "Tarn",
        "notable work": "Vera Holm",
    }
    tails = lists(examples, "fact")
    assert sorted(completion for _, completion in tails) == [
        "Norland", "Tarn", "Tarn", "The Salt Road", "The Salt Road", "Vera Holm",
    ]  # fmt: skip
    assert sum("for the head Holm." in text for text, _ in tails) == 2


def test_relations_come_in_several_orders(document: AnnotatedDocument) -> None:
    completions = [completion for _, completion in lists(made(document, orders=3), "relation")]
    assert completions[0] == "country;place of birth;author;notable work"
    assert len(completions) == 3
    assert len({frozenset(completion.split(";")) for completion in completions}) == 1


def test_negatives_have_an_empty_list(document: AnnotatedDocument) -> None:
    examples = made(document, negative_relations=5, negative_heads=1)
    empty = [text for text, completion in lists(examples, "head") if not completion]
    assert len(empty) == 5
    assert any(not completion for _, completion in lists(examples, "fact"))


def test_every_relation_is_chosen_or_refused(document: AnnotatedDocument) -> None:
    answers = [each.completion for each in made(document) if each.stage == "relation" and each.kind == "choose"]
    assert len(answers) == 96
    assert answers.count("yes") == 4


def test_what_was_not_annotated_is_never_refused(document: AnnotatedDocument) -> None:
    partly = replace(document, facts=document.facts[:1], relation_ids=frozenset({"P19"}))
    examples = made(partly, negative_relations=9)
    assert [each.completion for each in examples if each.stage == "relation" and each.kind == "choose"] == ["yes"]
    assert {text.split("relation ")[1].split(".")[0] for text, _ in lists(examples, "head")} == {"place of birth"}


def test_a_candidate_is_right_exactly_if_the_document_says_so(document: AnnotatedDocument) -> None:
    for each in made(document, wrong_candidates=9):
        if each.stage == "fact" and each.kind == "choose":
            text = "".join(piece.text for piece in each.prompt.after)
            head, relation, tail = text.split("fact: ")[1].split("?")[0].split(" | ")
            true = (head, relation, tail) in {
                ("Vera Holm", "place of birth", "Tarn"),
                ("The Salt Road", "author", "Vera Holm"),
                ("Tarn", "country", "Norland"),
                ("Vera Holm", "notable work", "The Salt Road"),
            }
            assert each.completion == ("yes" if true else "no")


@pytest.mark.parametrize("name", PARADIGMS)
def test_all_paradigms_teach_all_facts(document: AnnotatedDocument, name: str) -> None:
    facts = [completion for _, completion in lists(made(document, name, aliases=False), "fact") if completion]
    assert sum(len(completion.split(";")) for completion in facts) == 4


def test_names_are_listed_when_the_prompts_ask_for_them(document: AnnotatedDocument) -> None:
    prompts = replace(default_prompts(paradigm("RHF"), "", ""), separator=";", names=Template("{passage} names:"))
    examples = ExampleMaker(paradigm("RHF"), prompts, default()).make(document, random.Random(0))
    names = [each for each in examples if each.kind == "names"]
    assert [each.stage for each in names] == ["head", "fact"]
    assert {each.completion for each in names} == {"Vera Holm;Tarn;The Salt Road;Norland"}


def test_the_seed_decides(document: AnnotatedDocument) -> None:
    assert made(document, seed=3) == made(document, seed=3)
    assert made(document, seed=3) != made(document, seed=4)


def test_a_record_says_what_is_plain_text(document: AnnotatedDocument) -> None:
    for each in made(document):
        record = each.record()
        prompt = record["prompt"]
        start, end = record["passage"]
        assert prompt[start:end] == TEXT
        assert record["plain"][0] == record["passage"]
        assert [prompt[start:end] for start, end in record["plain"][1:]] == [
            piece.text for piece in each.prompt.after if piece.plain
        ]


def renamed(document: AnnotatedDocument, *names: tuple[str, str]) -> AnnotatedDocument:
    """The document with other names of the same length, so that all spans stay."""
    text = document.document.text
    for old, new in names:
        assert len(old) == len(new)
        text = text.replace(old, new)
    return replace(document, document=replace(document.document, text=text))


def test_a_name_that_would_end_an_item_is_replaced_by_another(document: AnnotatedDocument) -> None:
    document = renamed(document, ("Vera Holm", "Vera;Holm"))
    maker = maker_of(negative_relations=0, negative_heads=0)
    heads = dict(lists(list(maker.make(document, random.Random(0))), "head"))
    assert {text.split("relation ")[1].split(".")[0]: completion for text, completion in heads.items()} == {
        "place of birth": "Holm",
        "author": "The Salt Road",
        "country": "Tarn",
        "notable work": "Holm",
    }
    assert not maker.left_out


def test_items_without_another_name_are_left_out_and_counted(document: AnnotatedDocument) -> None:
    document = renamed(document, ("Tarn", "T;rn"))
    maker = maker_of(choose=False, negative_relations=0, negative_heads=0)
    examples = list(maker.make(document, random.Random(0)))
    assert len(lists(examples, "head")) == 3
    assert {completion for _, completion in lists(examples, "fact")} == {"Norland", "Vera Holm", "The Salt Road"}
    assert maker.left_out == {
        ("head", "items with ';' in their names"): 1,
        ("head", "lists of such items alone"): 1,
        ("fact", "items with ';' in their names"): 1,
        ("fact", "lists of such items alone"): 1,
    }
    maker = maker_of("D-F", choose=False)
    (whole,) = maker.make(renamed(document, ("Norland", "Nor|and")), random.Random(0))
    assert whole.completion == "Vera Holm|notable work|The Salt Road;The Salt Road|author|Vera Holm"
    assert maker.left_out == {("fact", "items with ';' or '|' in their names"): 2}


def test_entities_of_one_name_are_listed_once_and_never_contradict(document: AnnotatedDocument) -> None:
    # A second Tarn, of which nothing is said but its country.
    twin = replace(document, entities=(*document.entities, Entity(spans("Tarn")[1:], "LOC")))
    twin = replace(twin, facts=(*twin.facts, Fact(4, "P17", 3)))
    examples = made(twin, negative_relations=0, negative_heads=9, wrong_candidates=9)
    countries = [completion for text, completion in lists(examples, "head") if "relation country." in text]
    assert countries == ["Tarn"]
    answers: dict[str, set[str]] = {}
    for each in examples:
        if each.stage != "relation":
            answers.setdefault(f"{each.kind} {each.prompt.text}", set()).add(each.completion)
    assert all(len(different) == 1 for different in answers.values())


def test_a_limit_is_kept_and_counted(document: AnnotatedDocument) -> None:
    everything = sum(each.stage == "relation" for each in made(document))
    maker = maker_of(max_examples=10)
    some = list(maker.make(document, random.Random(0)))
    assert Counter(each.stage for each in some) == {"relation": 10, "head": 10, "fact": 10}
    assert maker.left_out["relation", "examples above the limit"] == everything - 10
    assert maker.left_out["fact", "examples above the limit"] > 0
