"""Name shapes: what is likely a name is a stretch that can be one, by the shapes of its words and of those around."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autore_cli.documents import candidate_spans
from autore_cli.documents.shapes import NameShapes, features, load
from autore_cli.model.bundle import find

ALPHABETS = ["Ada Byron's U.S. 1954, ", "阿达写 了书。", 'Oslo (the) "Jr." 60%.\n', "é̂ 👩‍🚀🇳🇴 ", "AB ab 12 .;'"]
TEXTS = st.one_of(st.text(max_size=80), *(st.text(alphabet, max_size=80) for alphabet in ALPHABETS))
WEIGHTS = st.dictionaries(st.sampled_from(["first Xx", "last xx", "words 1", "before <"]), st.floats(-1e6, 1e6))


@given(TEXTS, st.floats(-1e6, 1e6), WEIGHTS, st.floats(0, 1))
def test_what_is_likely_is_a_candidate(text: str, bias: float, weights: dict[str, float], least: float) -> None:
    likely = NameShapes(bias, weights, least).likely(text)
    candidates = candidate_spans(text)
    assert list(likely) == [span for span in candidates if span in likely]
    assert all(least <= chance <= 1 for chance in likely.values()) or text == text.lower()


@given(TEXTS)
def test_without_capitals_all_are_alike(text: str) -> None:
    shapes = NameShapes(-5.0, {"first xx": -3.0}, least=0.9)
    assert shapes.likely(text.lower()) == dict.fromkeys(candidate_spans(text.lower()), 0.5)


@given(TEXTS)
def test_without_weights_all_are_alike(text: str) -> None:
    assert set(NameShapes(0.0, {}).likely(text).values()) <= {0.5}


def test_features_are_those_of_the_edges() -> None:
    text = "In 1954 the poet Mara Lindqvist moved."
    found = dict(features(text))
    start = text.index("Mara")
    assert found[start, start + len("Mara Lindqvist")] == [
        "before xx",
        "first Xx",
        "last Xx",
        "after xx",
        "start xx Xx",
        "end Xx xx",
        "words 2",
        "whole Xx Xx",
    ]
    assert "first 9999" in found[text.index("1954"), text.index("1954") + 4]


def test_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "shapes.json").write_text('{"bias": 0.5, "weights": {"first Xx": 1}}')
    assert load(tmp_path / "shapes.json", 0.1) == NameShapes(0.5, {"first Xx": 1.0}, 0.1)


def test_the_default_bundle_tells_names_from_their_parts() -> None:
    shapes = find().shapes()
    assert shapes
    text = "She studied at the University of Orlen on the Vestmark coast."
    names = {text[start:end]: chance for (start, end), chance in shapes.likely(text).items()}
    assert names["University of Orlen"] > 0.5 > names.get("Vestmark coast", 0.0)
