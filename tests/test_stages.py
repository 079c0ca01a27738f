"""Stages and prompts: what is asked, piece by piece."""

from collections.abc import Sequence

import pytest

from autore_cli.errors import ConfigurationError
from autore_cli.generation import Encoding
from autore_cli.stages import PARADIGMS, Prompts, StagePrompts, Template, default_prompts, paradigm


class Letters:
    """One token a letter; templates in upper case, so that one sees which is which."""

    def encode(self, text: str) -> Encoding:
        return Encoding([ord(letter) for letter in text], [(i, i + 1) for i in range(len(text))])

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text).ids for text in texts]

    def encode_template(self, text: str) -> list[int]:
        return [ord(letter) for letter in text.upper()]


def test_pieces_are_tokenised_apart_and_what_is_filled_in_is_plain() -> None:
    prompt = Template("<s>{passage}</s>{relation} of {head}?").render("Ada</s>", {"relation": "name", "head": "Ada"})
    request = prompt.request(Letters())
    assert "".join(map(chr, request.prefix)) == "<S>Ada</s>"
    assert "".join(map(chr, request.suffix)) == "</S>name OF Ada?"
    assert request.prefix[slice(*request.passage)] == tuple(map(ord, "Ada</s>"))
    assert prompt.text == "<s>Ada</s></s>name of Ada?"


def test_prompts_of_one_passage_share_their_prefix() -> None:
    template = Template("<s>{passage}</s>{relation}?")
    first, second = (template.render("Ada", {"relation": name}).request(Letters()) for name in ("a", "b"))
    assert first.prefix == second.prefix
    assert first.suffix != second.suffix


@pytest.mark.parametrize("text", ["no passage", "{passage} twice {passage}"])
def test_a_template_holds_the_passage_once(text: str) -> None:
    with pytest.raises(ConfigurationError, match="exactly once"):
        Template(text)


def test_a_place_without_a_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\{tail\}"):
        Template("{passage} {tail}").render("Ada", {"head": "Ada"})


def test_braces_in_documents_are_text() -> None:
    prompt = Template("{passage}|{head}").render("{head} {passage}", {"head": "{tail}"})
    assert prompt.text == "{head} {passage}|{tail}"


@pytest.mark.parametrize("name", PARADIGMS)
def test_every_paradigm_ends_with_whole_triples(name: str) -> None:
    parts = {part for stage in paradigm(name) for part in stage.yields}
    assert parts == {"head", "relation", "tail"}


@pytest.mark.parametrize("name", PARADIGMS)
def test_default_prompts_fit_what_each_stage_is_given(name: str) -> None:
    stages = paradigm(name)
    prompts = default_prompts(stages, "<s>[INST] ", " [/INST]")
    for stage in stages:
        given = {part: f"the {part}" for part in stage.given} | ({"relations": "r"} if stage.all_relations else {})
        described = {"description": "what it means"} if "relation" in given else {}
        listed = prompts.stages[stage.name].list.render("A passage.", given | described)
        assert listed.text.startswith("<s>[INST] Passage: A passage.")
        assert all(value in listed.text for value in given.values())
        everything = {part: f"the {part}" for part in ("head", "relation", "tail")} | {"description": "d"}
        assert prompts.stages[stage.name].choose.render("A passage.", everything)


def test_an_unknown_paradigm_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="D-RS-F"):
        paradigm("RFH")


def test_completions() -> None:
    template = Template("{passage}")
    prompts = Prompts({"fact": StagePrompts(template, template)}, separator=";", joiner="|")
    assert prompts.completion([]) == ""
    assert prompts.completion([["Ada", "author", "Notes"], ["Ada", "child", "Byron"]]) == (
        "Ada|author|Notes;Ada|child|Byron"
    )
