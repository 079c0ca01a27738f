from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from autore_cli.errors import BundleError, InputError
from autore_cli.generation import Encoder
from autore_cli.model.bundle import read
from autore_cli.model.encoder import TokenizerEncoder, prompts
from autore_cli.runs.setup import Setup
from tests.model import tiny

CONTROLS = ["</s>", "[INST]", "[/INST]", "<s>", "[SEP]", "[CLS]", "<|user|>", "<pad>", "<think>"]


def unigram() -> PreTrainedTokenizerFast:
    """Knows `</s>` both as a special token and as a word, as T5's tokenizer does."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((letter, -1.0) for letter in "</>as ;yeno")]
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), eos_token="</s>", unk_token="<unk>"
    )


def with_chat_words() -> PreTrainedTokenizerFast:
    """Has a control token that is not marked as special, as Qwen's tokenizer does."""
    tokenizer = tiny.tokenizer("bytelevel")
    tokenizer.add_tokens(["<think>"])
    return tokenizer


ENCODERS: dict[str, TokenizerEncoder] = {
    **{kind: TokenizerEncoder(tiny.tokenizer(kind)) for kind in tiny.KINDS},
    "unigram": TokenizerEncoder(unigram()),
    "chat words": TokenizerEncoder(with_chat_words()),
}
each_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)

texts = st.lists(st.one_of(st.sampled_from([*CONTROLS, " ", "yes;"]), st.text(max_size=8))).map("".join)


def special_ids(encoder: TokenizerEncoder) -> set[int]:
    added = encoder.tokenizer.added_tokens_decoder
    return set(added) - {encoder.tokenizer.unk_token_id}


@each_encoder
@given(text=texts)
def test_nothing_in_plain_text_is_special(encoder: TokenizerEncoder, text: str) -> None:
    encoding = encoder.encode(text)
    assert special_ids(encoder).isdisjoint(encoding.ids)
    assert len(encoding.ids) == len(encoding.offsets)
    assert all(0 <= start <= end <= len(text) for start, end in encoding.offsets)
    assert encoder.encode_many([text, "yes", text]) == [encoding.ids, encoder.encode("yes").ids, encoding.ids]


@pytest.mark.parametrize("kind", ["bytelevel", "sentencepiece"])
@given(text=texts)
def test_tokens_cover_all_text_but_blanks(kind: str, text: str) -> None:
    covered = {place for start, end in ENCODERS[kind].encode(text).offsets for place in range(start, end)}
    assert "".join(letter for place, letter in enumerate(text) if place not in covered).strip() == ""


def test_offsets_count_code_points() -> None:
    text = "🙂漢 yes"
    encoding = ENCODERS["bytelevel"].encode(text)
    assert text[slice(*encoding.offsets[-1])].strip() == "yes"
    assert encoding.offsets[0] == (0, 1)


@each_encoder
def test_many_controls_are_no_burden(encoder: TokenizerEncoder) -> None:
    text = "</s><think>" * 2000
    assert special_ids(encoder).isdisjoint(encoder.encode(text).ids)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_templates_hold_special_tokens(kind: str) -> None:
    encoder = ENCODERS[kind]
    opening = "[CLS]" if kind == "wordpiece" else "<s>[INST]"
    ids = encoder.encode_template(opening)
    assert set(ids) <= special_ids(encoder)
    assert ids
    assert encoder.encode(opening).ids != ids
    assert encoder.encode_template(opening) == ids


@each_encoder
def test_lone_surrogates_are_refused(encoder: TokenizerEncoder) -> None:
    for attempt in (lambda: encoder.encode("a\ud800b"), lambda: encoder.encode_many(["a", "\udfff"])):
        with pytest.raises(InputError, match="lone surrogate"):
            attempt()


@each_encoder
def test_the_ids_of_lists_and_answers_differ(encoder: TokenizerEncoder) -> None:
    protocol: Encoder = encoder
    assert protocol.encode_many([]) == []
    assert len({encoder.yes, encoder.no, encoder.end, encoder.token(";")}) == 4
    assert encoder.token(" ; ") == encoder.token(";")
    assert encoder.pad == (encoder.tokenizer.pad_token_id if encoder.tokenizer.pad_token else encoder.end)


@pytest.mark.parametrize(("kind", "text"), [("wordpiece", "\n"), ("wordpiece", "漢"), ("unigram", "漢")])
def test_a_separator_without_a_token_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BundleError, match="has no token for"):
        ENCODERS[kind].token(text)


def test_a_line_break_separates_where_it_has_a_token() -> None:
    for kind in ("bytelevel", "sentencepiece"):
        encoder = ENCODERS[kind]
        assert encoder.tokenizer.decode([encoder.token("\n")]) == "\n"


def test_the_chat_template_gives_the_ends_of_a_prompt() -> None:
    assert ENCODERS["bytelevel"].chat_ends() == ("<s>[INST] ", " [/INST]")
    with pytest.raises(BundleError, match="no chat template"):
        ENCODERS["wordpiece"].chat_ends()
    silent = tiny.tokenizer("bytelevel")
    silent.chat_template = "Hello."
    with pytest.raises(BundleError, match="the user's words"):
        TokenizerEncoder(silent).chat_ends()


def test_prompts_that_the_bundle_leaves_out_stand_in_the_chat_template(tmp_path: Path) -> None:
    bundle = read(tiny.bundle(tmp_path / "tiny"))
    assert prompts(bundle, ENCODERS["wordpiece"]) == bundle.prompts()  # no chat template is asked for
    lines = bundle.file.read_text().splitlines()
    bundle.file.write_text("\n".join(line for line in lines if not line.startswith("choose =")))
    made = Setup(str(bundle.folder)).pipeline("cpu").prompts
    assert made.stages["head"].list == bundle.stages["head"].list
    assert made.stages["head"].choose.text.startswith("<s>[INST] Passage: {passage}")
    assert made == prompts(read(bundle.folder), ENCODERS["bytelevel"])
