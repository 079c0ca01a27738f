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
from transformers import AutoTokenizer

from autore_cli.examples import Example, ExampleMaker, ExampleSettings
from autore_cli.model.copylm import CopyLM
from autore_cli.model.encoder import TokenizerEncoder
from autore_cli.model.logits import logits_at
from autore_cli.model.packing import PREFIX, Layout, attention_mask, layout
from autore_cli.records import AnnotatedDocument
from autore_cli.schema import default
from autore_cli.stages import NO, YES, paradigm
from recipes.augment import Augmentation, Augmenter
from recipes.corpora import read_fewrel, read_knowledgenet, split_redocred
from recipes.prompts import PROMPTS
from recipes.start import initial_model, minilm_folder


@dataclass(frozen=True)
class Settings:
    """All that decides what comes out.

    Attributes:
        steps, batch, learning_rate, warmup, weight_decay, dropout, seed: as usual; a batch is so many documents.
        head_learning_rate: that of the copy head.
        held_out: so many documents of Re-DocRED dev are left out, the last ones of a fixed shuffle.
        average: decay of the exponential moving average of the weights, which is what is saved.
        max_row: tokens of a packed row; prompts that don't fit are left for another epoch.
        knowledgenet, fewrel: share of the documents that come from there.
        kept: share of the examples of a kind that a row may hold, where it isn't all.
        weights: of each kind of example in the loss; within a kind it is the mean over completion tokens.
    """

    steps: int = 2250
    batch: int = 16
    learning_rate: float = 5e-4
    head_learning_rate: float = 1e-3
    warmup: int = 150
    weight_decay: float = 0.01
    dropout: float = 0.1
    seed: int = 0
    held_out: int = 60
    average: float = 0.998
    max_row: int = 2048
    knowledgenet: float = 0.0
    fewrel: float = 0.0
    examples: ExampleSettings = field(
        default_factory=lambda: ExampleSettings(negative_relations=6, negative_heads=3, wrong_candidates=8)
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
        default_factory=lambda: {"relation choose": 0.6, "head choose": 0.35, "fact choose": 0.35, "names": 0.5}
    )


@dataclass(frozen=True)
class Target:
    """Tokens to predict, each at the position of the row that comes before it."""

    kind: str
    positions: list[int]
    tokens: list[int]


@dataclass(frozen=True)
class Row:
    """One passage and its prompts, laid out in runs (segment, first position, tokens)."""

    runs: list[tuple[int, int, list[int]]]
    targets: list[Target]


class RowMaker:
    """Turns documents into packed rows."""

    def __init__(self, encoder: TokenizerEncoder, settings: Settings, frequencies: Mapping[str, int]) -> None:
        self.encoder = encoder
        self.settings = settings
        self.maker = ExampleMaker(paradigm("RHF"), PROMPTS, default(), settings.examples, frequencies)
        self.answers = {answer: encoder.token(answer) for answer in (YES, NO)}
        self.separator, self.end = encoder.token(PROMPTS.separator), encoder.end

    def row(self, document: AnnotatedDocument, rng: random.Random, max_prefix: int) -> Row | None:
        """A row with as many of the document's examples as fit; None if the passage itself does not fit."""
        examples = [each for each in self.maker.make(document, rng) if rng.random() < self._kept(each)]
        if not examples:
            return None
        rng.shuffle(examples)
        prefix = examples[0].prompt.request(self.encoder).prefix
        if len(prefix) > max_prefix:
            return None
        runs, targets, at = [(PREFIX, 0, list(prefix))], [], len(prefix)
        for example in examples:
            suffix = [token for piece in example.prompt.after for token in piece.encode(self.encoder)]
            answer = self._completion(example)
            tokens = [*suffix, *answer][:-1]
            if at + len(tokens) > self.settings.max_row or len(tokens) > 190:
                continue
            first = at + len(suffix) - 1
            runs.append((len(runs), len(prefix), tokens))
            targets.append(Target(kind_of(example), list(range(first, first + len(answer))), answer))
            at += len(tokens)
        return Row(runs, targets)

    def _kept(self, example: Example) -> float:
        kind = kind_of(example)
        return self.settings.kept.get(kind, 1.0) if self.settings.weights[kind] else 0.0

    def _completion(self, example: Example) -> list[int]:
        if example.kind == "choose":
            return [self.answers[example.completion]]
        if not example.completion:
            return [self.end]
        items = self.encoder.encode_many(example.completion.split(PROMPTS.separator))
        return [*[token for item in items for token in (*item, self.separator)][:-1], self.end]


def kind_of(example: Example) -> str:
    """What the example's loss is counted under: its stage and kind, or `names`, which two stages share."""
    return "names" if example.kind == "names" else f"{example.stage} {example.kind}"


@dataclass
class Batch:
    """Packed rows with what is to be predicted: `positions`, `targets` and `weights` are `[rows, predicted]`."""

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    at: Tensor
    targets: Tensor
    kinds: Tensor


class Rows(IterableDataset[Batch]):
    """Endless batches of augmented rows."""

    def __init__(self, corpora: Sequence[tuple[float, Sequence[AnnotatedDocument]]], settings: Settings) -> None:
        self.corpora = corpora
        self.settings = settings
        self.kinds = list(settings.weights)

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        rng = random.Random(self.settings.seed * 1000 + (worker.id if worker else 0))
        frequencies = Counter(fact.relation_id for document in self.corpora[0][1] for fact in document.facts)
        maker = RowMaker(TokenizerEncoder(AutoTokenizer.from_pretrained(minilm_folder())), self.settings, frequencies)
        augmenter = Augmenter(self.corpora[0][1], self.settings.augmentation)
        queues: list[list[AnnotatedDocument]] = [[] for _ in self.corpora]
        shares = [share for share, _ in self.corpora]
        rows: list[Row] = []
        while True:
            index = rng.choices(range(len(shares)), shares)[0]
            if not queues[index]:
                queues[index] = list(self.corpora[index][1])
                rng.shuffle(queues[index])
            document = queues[index].pop()
            if index == 0:
                document = augmenter.augment(document, rng)
            row = maker.row(document, rng, max_prefix=448)
            if row and row.targets:
                rows.append(row)
            if len(rows) == self.settings.batch:
                yield self._batch(rows)
                rows = []

    def _batch(self, rows: Sequence[Row]) -> Batch:
        packed = layout([row.runs for row in rows], pad_token=0)
        flat = [
            [
                (p, t, self.kinds.index(target.kind))
                for target in row.targets
                for p, t in zip(target.positions, target.tokens, strict=True)
            ]
            for row in rows
        ]
        width = max(map(len, flat))
        filled = torch.tensor([each + [(0, 0, -1)] * (width - len(each)) for each in flat])
        return Batch(packed.tokens, packed.segments, packed.positions, *filled.unbind(-1))


def loss_of(model: CopyLM, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted loss, and the mean loss of each kind of example `[kinds]`."""
    packed = Layout(batch.tokens, batch.segments, batch.positions)
    mask = attention_mask(packed, packed, torch.bfloat16 if batch.tokens.is_cuda else torch.float32, prefix_lm=True)
    with logits_at(model, batch.at):
        logits = model(
            input_ids=packed.tokens,
            attention_mask=mask,
            position_ids=packed.positions,
            token_type_ids=(packed.segments == PREFIX).long(),
        ).logits
    losses = -logits.gather(-1, batch.targets[..., None])[..., 0]
    known = batch.kinds >= 0
    sums = torch.zeros(len(weights), device=losses.device).index_add_(0, batch.kinds[known], losses[known].float())
    counts = torch.bincount(batch.kinds[known], minlength=len(weights))
    means = sums / counts.clamp(min=1)
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
    """Linear warm-up, then a cosine to zero."""
    return min(1.0, (step + 1) / settings.warmup) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def make_optimizer(model: CopyLM, settings: Settings) -> torch.optim.Optimizer:
    """AdamW, with a rate of its own for the copy head, which starts from nothing."""
    head = {id(parameter) for parameter in model.lm_head.parameters()}
    pretrained = [parameter for parameter in model.parameters() if id(parameter) not in head]
    groups = [
        {"params": pretrained, "lr": settings.learning_rate},
        {"params": model.lm_head.parameters(), "lr": settings.head_learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, betas=(0.9, 0.98))


def train(data: Path, output: Path, settings: Settings, device: str, workers: int) -> None:
    """Trains and saves the averaged weights in `output`, with `run.json`."""
    torch.manual_seed(settings.seed)
    found, _ = corpora(data, settings)
    loader = DataLoader(Rows(found, settings), batch_size=None, num_workers=workers)
    model: Any = initial_model(minilm_folder(), settings.dropout)
    model.to(device).train()
    decay: Any = torch.optim.swa_utils.get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
    average: Any = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=decay)
    optimizer = make_optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, settings))
    weights = torch.tensor(list(settings.weights.values()), device=device)
    log = []
    for step, batch in enumerate(islice(loader, settings.steps)):
        moved = Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(batch).values()))
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
