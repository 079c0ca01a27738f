from dataclasses import replace

import pytest

from autore_cli.records import Span
from autore_cli.scoring.alignment import Aligner, End
from autore_cli.scoring.predictions import Prediction
from tests.scoring.helpers import fixture_gold


def head(doc: str, name: str, *spans: Span, index: int | None = None) -> End:
    return Aligner(fixture_gold()[doc]).align(Prediction(doc, name, "P17", "x", spans, (), index)).head


def test_an_index_decides_whatever_the_name() -> None:
    end = head("Old Light", "Norland", (0, 3), index=0)
    assert (end.entity, end.how) == (0, "index")


def test_exact_spans_tell_entities_of_the_same_name_apart() -> None:
    text = fixture_gold()["Two Reeds"].text or ""
    first, second = text.index("Sam Reed"), text.rindex("Sam Reed")
    assert head("Two Reeds", "Sam Reed", (first, first + 8)).entity == 0
    assert head("Two Reeds", "Sam Reed", (second, second + 8)).entity == 1
    assert head("Two Reeds", "Sam Reed", (second, second + 8)).how == "span"


def test_a_shared_name_without_spans_is_the_first_entitys() -> None:
    end = head("Two Reeds", "Sam Reed")
    assert (end.entity, end.how) == (0, "name")


@pytest.mark.parametrize("name", ["Brook", "Ada Brook", "Ada  Brook", "AdaBrook"])
def test_any_alias_will_do_however_it_is_spaced(name: str) -> None:
    end = head("Old Light", name)
    assert (end.entity, end.how) == (0, "name")
    assert end.sentences == {0, 2}


def test_a_tokenised_alias_is_the_natural_one() -> None:
    assert head("Old Light", '" Old Light " tower').entity == head("Old Light", '"Old Light" tower').entity == 3


def test_what_is_no_entity_keeps_its_name_and_its_places_in_the_text() -> None:
    text = fixture_gold()["Old Light"].text or ""
    end = head("Old Light", "Old  Light")
    assert (end.entity, end.key, end.how) == (None, "OldLight", "none")
    assert [text[slice(*span)] for span in end.spans] == ["Old Light"]
    assert end.sentences == {2}


def test_a_name_inside_a_word_has_no_place() -> None:
    assert head("Old Light", "land").spans == ()


def test_overlapping_spans_do_not_align() -> None:
    end = head("Old Light", "Ada Brook was", (0, 13))
    assert end.entity is None
    assert end.spans == ((0, 13),)
    assert end.sentences == {0}


def test_spans_that_the_text_contradicts_are_not_believed() -> None:
    aligner = Aligner(fixture_gold()["Old Light"])
    claim = aligner.align(Prediction("Old Light", "Brook", "P19", "Selma", ((0, 9),), ((0, 9999),)))
    assert aligner.disbelieved == 2
    assert claim.fact == (0, "P19", 1)
    assert (claim.head.how, claim.tail.how) == ("name", "name")


def test_spans_are_believed_where_no_text_is_known() -> None:
    gold = fixture_gold()["Old Light"]
    aligner = Aligner(replace(gold, text=None))
    aligner.align(Prediction("Old Light", "Brook", "P19", "Selma", ((0, 9),)))
    assert aligner.disbelieved == 0
