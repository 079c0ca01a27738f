"""Trains the default bundle's base, all stages at once, on augmented documents."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.model.copylm import CopyLM, CopyLMConfig
from autore_cli.model.dataset import Row, Sample, Tokeniser
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.finetune import controls
from autore_cli.model.logits import logits_at
from autore_cli.model.packing import PREFIX, Layout, attention_mask
from autore_cli.model.training import collate
from autore_cli.records import AnnotatedDocument
from autore_cli.schema import default
from autore_cli.stages import paradigm
from recipes import tokenizer
from recipes.augment import Augmentation, Augmenter
from recipes.corpora import read_fewrel, read_knowledgenet, split_redocred
from recipes.prompts import BUNDLE, PROMPTS
from recipes.start import initial_model

_LIMITS = CopyLMConfig()


@dataclass(frozen=True)
class Settings:
    """All that decides what comes out.

    Attributes:
        steps, batch, learning_rate, warmup, weight_decay, dropout, seed: as usual; a batch is so many documents.
        head_learning_rate: that of the copy head.
        held_out: so many documents of Re-DocRED dev are left out, the last ones of a fixed shuffle.
        average: decay of the exponential moving average of the weights, which is what is saved.
        max_row: tokens of a packed row; prompts that don't fit are left for another epoch.
        knowledgenet, fewrel: documents that come from there, for each one of Re-DocRED.
        start: the folder of a model to start from; None is MiniLM.
        decay: the learning rate falls along a cosine; else it stays.
        kept: share of the examples of a kind that a row may hold, where it isn't all.
        weights: of each kind of example in the loss; within a kind it is the mean over completion tokens.
    """

    steps: int = 1000
    batch: int = 20
    learning_rate: float = 5e-4
    head_learning_rate: float = 1e-3
    warmup: int = 30
    weight_decay: float = 0.01
    dropout: float = 0.1
    seed: int = 0
    held_out: int = 60
    average: float = 0.998
    max_row: int = 1280
    knowledgenet: float = 0.0
    fewrel: float = 0.0
    start: str | None = None
    decay: bool = True
    examples: ExampleSettings = field(
        default_factory=lambda: ExampleSettings(negative_relations=6, negative_heads=3, wrong_candidates=4)
    )
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "relation list": 0.3,
            "relation choose": 1.0,
            "head list": 1.0,
            "head choose": 1.0,
            "fact list": 1.0,
            "fact choose": 1.0,
            "names": 0.5,
        }
    )
    kept: dict[str, float] = field(
        default_factory=lambda: {"relation choose": 0.3, "head choose": 0.25, "fact choose": 0.2, "names": 0.5}
    )


class RowMaker:
    """Turns documents into packed rows, with the kind of each of their prompts."""

    def __init__(self, settings: Settings, frequencies: Mapping[str, int]) -> None:
        self.settings = settings
        self.maker = ExampleMaker(paradigm("RHF"), PROMPTS, default(), settings.examples, frequencies)
        encoder = TokenizerEncoder(tokenizer.load())
        self.tokeniser = Tokeniser(encoder, controls(BUNDLE, encoder))
        self.kinds = {kind: number for number, kind in enumerate(settings.weights)}

    def row(self, document: AnnotatedDocument, rng: random.Random) -> tuple[Row, list[int]] | None:
        """A row with as many of the document's examples as fit; None if the passage itself does not fit."""
        examples = [each for each in self.maker.make(document, rng) if rng.random() < self._kept(each)]
        rng.shuffle(examples)
        samples: list[Sample] = []
        kinds: list[int] = []
        prefix: tuple[int, ...] = ()
        length = 0
        for example in examples:
            tokenised = self.tokeniser.example(example, parts=1)
            sample = Sample(tokenised.request.suffix, tokenised.completion)
            prefix = tokenised.request.prefix
            if len(prefix) > _LIMITS.max_prefix:
                return None
            fits = len(prefix) + length + len(sample.read) <= self.settings.max_row
            if fits and len(sample.read) <= _LIMITS.max_prompt:
                samples.append(sample)
                kinds.append(self.kinds[kind_of(example)])
                length += len(sample.read)
        return (Row(prefix, tuple(samples)), kinds) if samples else None

    def _kept(self, example: Example) -> float:
        kind = kind_of(example)
        return self.settings.kept.get(kind, 1.0) if self.settings.weights[kind] else 0.0


def kind_of(example: Example) -> str:
    """What the example's loss is counted under: its stage and kind, or `names`, which two stages share."""
    return "names" if example.kind == "names" else f"{example.stage} {example.kind}"


class Rows(IterableDataset[dict[str, Tensor]]):
    """Endless batches of augmented rows: see `training`, and `kinds` `[rows, targets]`, -1 where there is no target."""

    def __init__(self, corpora: Sequence[tuple[float, Sequence[AnnotatedDocument]]], settings: Settings) -> None:
        self.corpora = corpora
        self.settings = settings

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        rng = random.Random(self.settings.seed * 1000 + (worker.id if worker else 0))
        frequencies = Counter(fact.relation_id for document in self.corpora[0][1] for fact in document.facts)
        maker = RowMaker(self.settings, frequencies)
        augmenter = Augmenter(self.corpora[0][1], self.settings.augmentation)
        queues: list[list[AnnotatedDocument]] = [[] for _ in self.corpora]
        shares = [share for share, _ in self.corpora]
        while True:
            rows: list[tuple[Row, list[int]]] = []
            while len(rows) < self.settings.batch:
                index = rng.choices(range(len(shares)), shares)[0]
                if not queues[index]:
                    queues[index] = list(self.corpora[index][1])
                    rng.shuffle(queues[index])
                document = queues[index].pop()
                row = maker.row(augmenter.augment(document, rng) if index == 0 else document, rng)
                rows += [row] if row else []
            yield _batch(rows)


def _batch(rows: Sequence[tuple[Row, Sequence[int]]]) -> dict[str, Tensor]:
    batch = collate([row for row, _ in rows], pad_token=0)
    kinds = torch.full_like(batch["targets"], -1)
    for place, (row, of_row) in zip(kinds, rows, strict=True):
        lengths = torch.tensor([len(sample.completion) for sample in row.samples])
        place[: row.targets] = torch.tensor(of_row).repeat_interleave(lengths)
    return {**batch, "kinds": kinds}


def loss_of(model: CopyLM, batch: Mapping[str, Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss, and the mean loss of each kind of example `[kinds]`."""
    packed = Layout.of_prompts(batch["input_ids"], batch["segments"], batch["position_ids"])
    mask = attention_mask(packed, packed, torch.bfloat16 if packed.tokens.is_cuda else torch.float32, prefix_lm=True)
    with logits_at(model, batch["predictors"]):
        logits = model(
            input_ids=packed.tokens,
            attention_mask=mask,
            position_ids=packed.positions,
            token_type_ids=(packed.segments == PREFIX).long(),
            wanted=batch["targets"].clamp(min=0)[..., None],
        ).logits
    known = batch["kinds"] >= 0
    kinds, losses = batch["kinds"][known], -logits[..., 0][known].float()
    sums = torch.zeros(len(weights), device=losses.device).index_add_(0, kinds, losses)
    means = sums / torch.bincount(kinds, minlength=len(weights)).clamp(min=1)
    return (means * weights).sum() / weights.sum(), means


def corpora(
    data: Path, settings: Settings
) -> tuple[list[tuple[float, list[AnnotatedDocument]]], list[AnnotatedDocument]]:
    """The training corpora with their shares, Re-DocRED first, and the held-out documents."""
    documents, held_out = split_redocred(data, settings.held_out)
    found: list[tuple[float, list[AnnotatedDocument]]] = [(1.0, documents)]
    if settings.knowledgenet:
        known = [each for each in read_knowledgenet(data / "knowledgenet" / "passages.jsonl") if each.relation_ids]
        found.append((settings.knowledgenet, known))
    if settings.fewrel:
        ids = [relation.id for relation in default()]
        found.append((settings.fewrel, list(read_fewrel(data / "fewrel" / "val_wiki.json", ids))))
    return found, held_out


def rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine to zero, or none."""
    fallen = 0.5 * (1 + math.cos(math.pi * step / settings.steps)) if settings.decay else 1.0
    return min(1.0, (step + 1) / settings.warmup) * fallen


def make_optimizer(model: CopyLM, settings: Settings) -> torch.optim.Optimizer:
    """AdamW, with a rate of its own for the copy head and the cases, which start from nothing."""
    fresh = [*model.lm_head.parameters(), *(model.cases.parameters() if model.cases else ())]
    pretrained = {id(parameter): parameter for parameter in model.parameters()}
    for parameter in fresh:
        del pretrained[id(parameter)]
    groups = [
        {"params": list(pretrained.values()), "lr": settings.learning_rate},
        {"params": fresh, "lr": settings.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, betas=(0.9, 0.98))


def _model(settings: Settings) -> CopyLM:
    if settings.start is None:
        return initial_model(settings.dropout)
    model: CopyLM = CopyLM.from_pretrained(settings.start, dtype=torch.float32, dropout=settings.dropout)
    return model


def train(data: Path, output: Path, settings: Settings, device: str, workers: int) -> None:
    """Trains and saves the averaged weights in `output`, with `run.json`."""
    torch.manual_seed(settings.seed)
    found, _ = corpora(data, settings)
    loader = DataLoader(Rows(found, settings), batch_size=None, num_workers=workers)
    model: Any = _model(settings)
    model.to(device).train()
    decay: Any = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
    average: Any = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=decay)
    optimizer = make_optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, settings))
    weights = torch.tensor(list(settings.weights.values()), device=device)
    log = []
    for step, batch in enumerate(islice(loader, settings.steps)):
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(device, torch.bfloat16):
            loss, means = loss_of(model, moved, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        if step % 100 == 0:
            kinds = {kind: round(mean, 3) for kind, mean in zip(settings.weights, means.tolist(), strict=True)}
            log.append({"step": step, "loss": round(loss.item(), 4), **kinds})
            print(json.dumps(log[-1]), flush=True)
    average.module.to(torch.bfloat16).save_pretrained(output)
    (output / "run.json").write_text(json.dumps({"settings": asdict(settings), "log": log}, indent=1))
