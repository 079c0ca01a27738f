"""The recipe as a whole, on tiny models: other paradigms, families, prompts; and then extraction."""

import json
import logging
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from autore_cli.errors import BundleError, ConfigurationError
from autore_cli.examples import ExampleMaker
from autore_cli.model import sources
from autore_cli.model.bundle import Bundle, read
from autore_cli.model.finetune import Job, finetune, prepare
from autore_cli.model.load import load
from autore_cli.model.settings import FinetuneSettings
from autore_cli.pipeline import Pipeline
from autore_cli.records import Triple
from autore_cli.stages import PARADIGMS, Prompts, paradigm
from tests.model import corpus, tiny
from tests.model.test_finetune import Recorder

QUICK = FinetuneSettings(rank=8, alpha=16, dropout=0.0, learning_rate=1e-2, steps=3, batch_size=4)
VICUNA = ("<s>USER: ", " ASSISTANT:")


def with_default_prompts(bundle: Bundle, opening: str = VICUNA[0], closing: str = VICUNA[1]) -> Bundle:
    """The bundle without templates of its own."""
    lines = bundle.file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("list =", "choose ="))]
    ends = [f"opening = {json.dumps(opening)}", f"closing = {json.dumps(closing)}"]
    bundle.file.write_text("\n".join([kept[0], *ends, *kept[1:]]))
    return read(bundle.folder)


def train(bundle: Bundle, folder: Path, settings: FinetuneSettings = QUICK, *, trust: bool = False) -> Bundle:
    """Trains all adapters of a bundle, and checks that each learnt something."""
    prompts = bundle.prompts()
    maker = ExampleMaker(paradigm(bundle.paradigm), prompts, corpus.schema(), corpus.SETTINGS)
    examples = [each for document in corpus.documents() for each in maker.make(document, random.Random(0))]
    data = corpus.write(folder / "data", examples)
    recorder = Recorder()
    job = Job(bundle, tuple(bundle.stages), data, folder / "own", device="cpu", trust_remote_code=trust)
    finetune(job, settings, recorder)
    count = settings.steps or 0
    assert len(recorder.losses) == count * len(set(bundle.adapters.values()))
    for start in range(0, len(recorder.losses), count):
        assert recorder.losses[start + count - 1] < recorder.losses[start]
    return read(folder / "own")


def extract(bundle: Bundle, *, trust: bool = False) -> list[list[Triple]]:
    """What a bundle finds in the corpus."""
    generator = load(bundle, device="cpu", trust_remote_code=trust)
    decoding = {name: replace(stage.decoding, threshold=None) for name, stage in bundle.stages.items()}
    pipeline = Pipeline(generator, paradigm(bundle.paradigm), bundle.prompts(), decoding, corpus.schema())
    return [each.triples for each in pipeline.extract([document.document for document in corpus.documents()])]


@pytest.mark.parametrize(("name", "shared"), [*((name, False) for name in PARADIGMS), ("RHF", True)])
def test_a_paradigm_is_that_of_the_bundle_that_it_was_trained_into(name: str, shared: bool, tmp_path: Path) -> None:
    source = with_default_prompts(read(tiny.bundle(tmp_path / "tiny")))
    changed = source.with_paradigm(name)
    if shared:
        changed = changed.with_shared_adapter()
    made = train(changed, tmp_path)
    assert made.paradigm == name
    assert list(made.stages) == [stage.name for stage in paradigm(name)]
    assert made.stages == changed.stages
    assert {path.parent.name for path in made.folder.glob("*/run.json")} == (
        {"shared"} if shared else {stage.name for stage in paradigm(name)}
    )
    found = [triple for triples in extract(made) for triple in triples]
    assert {triple.relation_id for triple in found} <= {relation.id for relation in corpus.schema()}
    assert found


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_learns_with_the_ends_that_the_bundle_gives(family: tiny.Family, tmp_path: Path) -> None:
    source = read(tiny.bundle(tmp_path / "tiny", family=family, kind="sentencepiece"))
    tokens = tiny.tokenizer("sentencepiece")
    tokens.chat_template = None  # as Vicuna's
    tokens.save_pretrained(source.folder / "base")
    (source.folder / "base" / "chat_template.jinja").unlink()
    made = train(with_default_prompts(source), tmp_path)
    assert json.loads((made.folder / "head" / "adapter_config.json").read_text())["target_modules"] == [
        "q_proj",
        "v_proj",
    ]
    assert made.prompts().stages["head"].list.text.startswith("<s>USER: Passage: {passage}")
    extract(made)


def test_glm_has_layers_of_its_own_names(tmp_path: Path) -> None:
    source = read(tiny.bundle(tmp_path / "tiny", family="glm"))
    made = train(source, tmp_path, replace(QUICK, target_modules=("gate_up_proj", "o_proj")))
    config = json.loads((made.folder / "head" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["gate_up_proj", "o_proj"]
    extract(made)


FOREIGN = {
    'list = "<s>[INST]{passage} heads of {relation}:[/INST]"': (
        "list = '''<s>[INST]I'm going to give you a relation: {relation}. List all its subjects in the sentence.\n"
        "Sentence: {passage}\nSubjects:[/INST]'''"
    ),
    'list = "<s>[INST]{passage} {relation} of {head}:[/INST]"': (
        "list = '''Human: {head} is a subject of {relation} ({description}) in: {passage}\nAssistant: '''"
    ),
}


def test_prompts_may_ask_before_the_passage(tmp_path: Path) -> None:
    """As those of AutoRE's own adapters and of LLaMA-Factory do, which know nothing of shared prefixes."""
    source = read(tiny.bundle(tmp_path / "tiny"))
    text = source.file.read_text()
    for ours, theirs in FOREIGN.items():
        assert ours in text
        text = text.replace(ours, theirs)
    source.file.write_text(text)
    source = read(source.folder)
    before = extract(source)
    made = train(source, tmp_path)
    assert made.prompts() == source.prompts()
    assert extract(made) != before


def test_prompts_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    source = read(tiny.bundle(tmp_path / "tiny", kind="wordpiece", causal_lm=tiny.copylm()))
    assert source.with_paradigm("D-F").needs_chat_template()
    with pytest.raises(ConfigurationError, match="unknown paradigm 'F-D'"):
        source.with_paradigm("F-D")


def test_adapters_of_stages_that_are_asked_otherwise_are_not_inherited(tmp_path: Path) -> None:
    source = with_default_prompts(read(tiny.bundle(tmp_path / "tiny")))
    own = source.with_paradigm("D-R-F")
    job = Job(own, ("fact",), tmp_path / "data", tmp_path / "own", device="cpu")
    assert job.inherited() == ["relation"]
    job = Job(own, ("relation",), tmp_path / "data", tmp_path / "own", device="cpu")
    assert job.inherited() == []


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle whose base brings Python files, which transformers copies to a place of its own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    causal_lm = tiny.remote(tmp_path / "tiny" / "base")
    return read(tiny.bundle(tmp_path / "tiny", causal_lm=causal_lm, targets=("query_key_value",)))


def test_a_base_with_code_of_its_own_learns_and_extracts(
    remote: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = train(remote, tmp_path, trust=True)
    assert [each.getMessage() for each in caplog.records if each.name.startswith("autore_cli")] == [
        f"running the Python files that come with {remote.folder / 'base'}"
    ]
    config = json.loads((made.folder / "head" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["query_key_value"]
    assert sorted(path.name for path in (made.folder / "base").glob("*.py")) == [
        "configuration_fused.py",
        "modeling_fused.py",
    ]
    assert any(extract(made, trust=True))


def test_code_is_not_run_unasked(remote: Bundle, tmp_path: Path) -> None:
    job = Job(remote, ("head",), corpus.write(tmp_path / "data", corpus.examples(remote)), tmp_path / "own", "cpu")
    for attempt in (lambda: prepare(job, QUICK), lambda: load(remote, device="cpu")):
        with pytest.raises(BundleError, match="custom code") as caught:
            attempt()
        assert "--trust-remote-code" in str(caught.value.hint)
        assert caught.value.where == str(remote.folder / "base")
    assert not (tmp_path / "own").exists()
    assert not (tmp_path / "modules").exists()


def test_moments_can_be_of_eight_bits(tmp_path: Path) -> None:
    # Rank 128 makes layers of more than 4096 numbers, from where on bitsandbytes keeps moments in 8 bit.
    source = read(tiny.bundle(tmp_path / "tiny"))
    settings = replace(QUICK, rank=128, alpha=128, optimiser="adamw-8bit", learning_rate=1e-3)
    made = train(source, tmp_path, settings)
    assert json.loads((made.folder / "head" / "run.json").read_text())["settings"]["optimiser"] == "adamw-8bit"
    with pytest.raises(ConfigurationError, match="adamw, adamw-8bit"):
        replace(QUICK, optimiser="paged")


TOGETHER = """
import sys
from pathlib import Path
from autore_cli.model.bundle import read
from autore_cli.model.finetune import Job, finetune
from tests.model.test_finetune import Recorder
from tests.model.test_recipe import TWO

folder = Path(sys.argv[1])
finetune(Job(read(folder / "tiny"), ("head",), folder / "data", folder / "two", device="cpu"), TWO, Recorder())
"""
ONE = replace(QUICK, batch_size=2, held_out=0.5, seed=1, evaluate_every=1)
TWO = replace(ONE, batch_size=1)


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    bundle = read(tiny.bundle(tmp_path / "tiny"))
    data = corpus.write(tmp_path / "data", corpus.examples(bundle))
    finetune(Job(bundle, ("head",), data, tmp_path / "one", device="cpu"), ONE, Recorder())
    (tmp_path / "together.py").write_text(TOGETHER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "together.py"), str(tmp_path)], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    one, two = (orjson.loads((tmp_path / name / "head" / "run.json").read_bytes()) for name in ("one", "two"))
    assert one["plan"]["rows"] == two["plan"]["rows"] == 2
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert [each["f1"] for each in two["evaluations"]] == [each["f1"] for each in one["evaluations"]]


def test_a_base_of_which_the_cache_has_a_part_is_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read(tiny.bundle(tmp_path / "tiny"))
    cached = tmp_path / "hub" / "models--autore-tests--small"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    (bundle.folder / "base").rename(cached / "snapshots" / "abc")
    bundle.file.write_text(bundle.file.read_text().replace('base = "base"', 'base = "autore-tests/small"'))
    bundle = read(bundle.folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert sources.base_folder(bundle) == sources.base_folder(bundle, weights=False) == cached / "snapshots" / "abc"
    (cached / "snapshots" / "abc" / "model.safetensors").unlink()
    assert sources.base_folder(bundle, weights=False) == cached / "snapshots" / "abc"
    with pytest.raises(BundleError, match="can't be fetched"):
        sources.base_folder(bundle)


def test_prompts_of_a_changed_paradigm_are_the_default_ones(tmp_path: Path) -> None:
    source = read(tiny.bundle(tmp_path / "tiny"))
    prompts: Prompts = source.with_paradigm("D-R-F").prompts("<s>", "</s>")
    assert prompts.stages["relation"] == source.prompts().stages["relation"]
    assert "each as head | tail" in prompts.stages["fact"].list.text
