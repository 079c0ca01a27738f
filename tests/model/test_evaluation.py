import json
from pathlib import Path

import pytest
import torch

from autore_cli.model.base import load_base
from autore_cli.model.bundle import read
from autore_cli.model.encoder import load_encoder
from autore_cli.model.evaluation import Evaluation, Tally
from autore_cli.model.lora import with_adapter
from autore_cli.model.settings import FinetuneSettings
from autore_cli.stages import paradigm
from tests.model import corpus, tiny

HEAD = paradigm("RHF")[1]


def measured(folder: Path, least: float | None) -> Tally:
    """The head stage's, by a fresh adapter; with `least`, all names have a chance of 1/2 by their shapes."""
    path = tiny.bundle(folder)
    if least is not None:
        (path / "shapes.json").write_text(json.dumps({"bias": 0, "weights": {}}))
        with (path / "bundle.toml").open("a") as file:
            file.write(f'\n[name_shapes]\nweights = "shapes.json"\nleast = {least}\n')
    bundle = read(path)
    examples = [example for example in corpus.examples(bundle) if example.stage == "head"]
    evaluation = Evaluation(bundle, load_encoder(bundle), {HEAD: examples}, corpus.schema())
    base = load_base(bundle, "cpu", torch.float32)
    return evaluation.measure(with_adapter(base, FinetuneSettings(rank=2), ("q_proj",), "head"))


@pytest.mark.parametrize(("least", "finds"), [(None, True), (0.4, True), (0.6, False)])
def test_only_what_looks_like_a_name_is_listed(tmp_path: Path, least: float | None, finds: bool) -> None:
    tally = measured(tmp_path / "tiny", least)
    assert (tally.found > 0) == finds
    assert tally.wanted > 0
