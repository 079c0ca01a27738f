from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autore_cli.errors import InputError
from autore_cli.examples import Example
from autore_cli.generation import Request
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.dataset import (
    Controls,
    Limits,
    TokenisedExample,
    Tokeniser,
    example_of,
    is_held_out,
    load,
    pack,
    read_examples,
)
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.finetune import controls
from autore_cli.stages import Piece, Prompt, paradigm
from tests.model import corpus, tiny

_ROOMY = Limits(passage=1000, positions=1000, row=1000)

_text = st.text(min_size=1, max_size=8)
_alternating = st.lists(_text, max_size=4).map(
    lambda texts: tuple(Piece(text, plain=bool(number % 2)) for number, text in enumerate(texts))
)
_examples = st.builds(
    Example,
    st.just("head"),
    st.just("list"),
    st.text(max_size=5),
    st.builds(Prompt, _alternating, _text, _alternating),
    st.text(max_size=10),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read(tiny.bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module", params=tiny.KINDS)
def encoder(request: pytest.FixtureRequest) -> TokenizerEncoder:
    return TokenizerEncoder(tiny.tokenizer(request.param))


@given(_examples)
def test_a_line_holds_the_whole_example(example: Example) -> None:
    assert example_of(orjson.loads(orjson.dumps(example.record())), "head") == example


def test_training_reads_the_tokens_that_extraction_reads(
    bundle: Bundle, encoder: TokenizerEncoder, tmp_path: Path
) -> None:
    made = corpus.examples(bundle)
    data = corpus.write(tmp_path / "data", made)
    for stage in paradigm(bundle.paradigm):
        tokeniser = Tokeniser(encoder, controls(bundle, encoder))
        lines = [example for _, example in read_examples(data / f"{stage.name}.jsonl", stage.name)]
        asked = [example.prompt.request(encoder) for example in made if example.stage == stage.name]
        assert [tokeniser.example(example, len(stage.yields)).request for example in lines] == asked
        assert asked


def test_completions_are_items_joined_by_control_tokens(bundle: Bundle, encoder: TokenizerEncoder) -> None:
    tokeniser = Tokeniser(encoder, controls(bundle, encoder))
    separator, joiner, end = encoder.token(";"), encoder.token("|"), encoder.end
    mara, orlen = encoder.encode_many(["Mara Lindqvist", "Orlen"])
    prompt = Prompt((), "Orlen", ())

    def completion(text: str, parts: int = 1, kind: str = "list") -> list[int]:
        return list(tokeniser.example(Example("fact", kind, "", prompt, text), parts).completion)  # type: ignore[arg-type]

    assert completion("") == [end]
    assert completion("Orlen;Mara Lindqvist") == [*orlen, separator, *mara, end]
    assert completion("Orlen|Mara Lindqvist", parts=2) == [*orlen, joiner, *mara, end]
    assert completion("yes", kind="choose") == [encoder.yes]
    with pytest.raises(InputError, match="has 3 parts"):
        completion("Orlen|Mara Lindqvist", parts=3)


def test_a_line_can_do_without_what_is_optional() -> None:
    example = example_of({"prompt": "In Orlen: towns", "completion": "Orlen", "passage": [3, 8]}, "head")
    prompt = Prompt((Piece("In ", False),), "Orlen", (Piece(": towns", False),))
    assert example == Example("head", "list", "Orlen", prompt, "Orlen")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"completion": "", "passage": [0, 1]}', "'prompt' must be a text"),
        (b'{"prompt": "ab", "passage": [0, 1]}', "'completion' must be a text"),
        (b'{"prompt": "ab", "completion": ""}', "'passage' must hold"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 3]}', "'passage' must hold"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 0]}', "not empty"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 1], "plain": [[1, 2]]}', "one of the 'plain'"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 1], "plain": [[0, 1], [0, 2]]}', "in order"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 1], "plain": 7}', "'plain' must hold"),
        (b'{"prompt": "ab", "completion": "", "passage": [0, 1], "kind": "guess"}', "'kind' must be one of"),
        (b'{"prompt": "ab", "completion": "maybe", "passage": [0, 1], "kind": "choose"}', "must be yes or no"),
    ],
)
def test_a_broken_line_is_told_with_its_number(line: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "head.jsonl"
    file.write_bytes(b'{"prompt": "ab", "completion": "", "passage": [0, 1]}\n\n' + line + b"\n")
    with pytest.raises(InputError, match=message) as caught:
        list(read_examples(file, "head"))
    assert caught.value.where == f"{file}:3"


def test_files_without_examples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"\n\n")
    with pytest.raises(InputError, match="no examples"):
        list(read_examples(tmp_path / "empty.jsonl", "head"))
    with pytest.raises(InputError, match="can't be read"):
        list(read_examples(tmp_path / "missing.jsonl", "head"))


_ids = st.lists(st.integers(0, 9), min_size=1, max_size=6).map(tuple)
_tokenised = st.builds(
    lambda prefix, suffix, completion: TokenisedExample("", Request(prefix, suffix, (0, 1)), completion),
    st.sampled_from([(1, 2, 3), (4,), (5, 6)]),
    st.one_of(st.just(()), _ids),
    _ids,
)


@given(st.lists(_tokenised, max_size=20), st.booleans())
def test_packing_keeps_every_prompt_behind_its_own_prefix(examples: list[TokenisedExample], packing: bool) -> None:
    limits = Limits(passage=10, positions=20, row=20)
    rows = pack(examples, limits, packing=packing)
    packed = Counter((row.prefix, sample.suffix, sample.completion) for row in rows for sample in row.samples)
    assert packed == Counter((each.request.prefix, each.request.suffix, each.completion) for each in examples)
    assert all(row.length <= limits.row and row.samples for row in rows)
    if not packing:
        assert len(rows) == len(examples)


def test_prompts_that_do_not_fit_are_counted(bundle: Bundle, tmp_path: Path) -> None:
    encoder = TokenizerEncoder(tiny.tokenizer())
    data = corpus.write(tmp_path / "data", corpus.examples(bundle))
    (head,) = (stage for stage in paradigm("RHF") if stage.name == "head")
    files, tokeniser = {head: data / "head.jsonl"}, Tokeniser(encoder, controls(bundle, encoder))
    all_fit = load(files, tokeniser, _ROOMY, packing=True)
    lengths = sorted(
        len(each.prefix) + len(sample.suffix) + len(sample.completion)
        for each in all_fit.train
        for sample in each.samples
    )
    some_fit = load(files, tokeniser, Limits(1000, lengths[-1] - 1, 1000), packing=True)
    assert all_fit.dropped == 0
    assert some_fit.dropped == lengths.count(lengths[-1])
    assert some_fit.examples == all_fit.examples
    with pytest.raises(InputError, match=f"{all_fit.examples} too long"):
        load(files, tokeniser, Limits(1, 1000, 1000), packing=True)


@given(st.lists(st.text(), min_size=1), st.integers(0, 5))
def test_documents_are_held_out_by_their_id_alone(docs: list[str], seed: int) -> None:
    for doc in docs:
        assert not is_held_out(doc, 0.0, seed)
        assert is_held_out(doc, 0.5, seed) == is_held_out(doc, 0.5, seed)
        assert is_held_out(doc, 0.9, seed) or not is_held_out(doc, 0.5, seed)


def test_about_the_asked_part_is_held_out() -> None:
    share = sum(is_held_out(f"doc {number}", 0.2, 0) for number in range(2000)) / 2000
    assert 0.17 < share < 0.23


def test_controls_are_those_of_decoding(bundle: Bundle) -> None:
    encoder = TokenizerEncoder(tiny.tokenizer())
    assert controls(bundle, encoder) == Controls(
        ";",
        "|",
        {";": encoder.token(";"), "|": encoder.token("|")},
        encoder.end,
        {"yes": encoder.yes, "no": encoder.no},
    )
