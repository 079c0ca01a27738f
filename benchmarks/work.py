"""The work that is measured: prompts for a model, answered in three ways, and what that takes.

    reference   as AutoRE's code does it: prompt by prompt, batch 1, a forward a token, nothing shared
    batched     prompts of several documents at once, nothing shared
    product     `TransformersGenerator` as `autore extract` uses it

All have the same weights and the same grammar, and answer the same prompts.
"""

import random
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from autore_cli.generation import Listed, Request
from autore_cli.grammar import ListGrammar, Trie
from autore_cli.model.context import is_prefix_lm
from autore_cli.model.generator import TransformersGenerator
from autore_cli.model.logits import logits_at


class Answerer(Protocol):
    """What answers prompts: see `generation.Generator`."""

    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float
    ) -> list[list[Listed]]:
        """Lists items."""
        ...

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """Answers yes or no."""
        ...


@dataclass(frozen=True)
class Question:
    """Prompts that a pipeline asks at once: for lists under these grammars, or for yes or no if there are none."""

    stage: str
    requests: Sequence[Request]
    grammars: Sequence[ListGrammar] = ()
    end_bias: float = 0.0


class Recorder:
    """A generator that notes what it is asked. Everything else is the generator's own."""

    def __init__(self, generator: TransformersGenerator) -> None:
        self._generator = generator
        self.questions: list[Question] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float = 0.0
    ) -> list[list[Listed]]:
        """As the generator."""
        self.questions.append(Question(stage, requests, grammars, end_bias))
        return self._generator.decode(stage, requests, grammars, end_bias)

    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """As the generator."""
        self.questions.append(Question(stage, requests))
        return self._generator.choose(stage, requests)


class Reference:
    """The reference way.

    Args:
        model: the bare model, with the adapters in its layers.
        use: makes the adapter of a stage active.
        yes_and_no: the tokens of the answers.
    """

    def __init__(self, model: PreTrainedModel, use: Callable[[str], None], yes_and_no: Sequence[int]) -> None:
        self._model = model
        self._use = use
        self._yes_and_no = yes_and_no

    @torch.inference_mode()
    def choose(self, stage: str, requests: Sequence[Request]) -> list[float]:
        """P(yes) of each prompt."""
        self._use(stage)
        return [float(self._read(each)[1][self._yes_and_no].softmax(0)[0]) for each in requests]

    @torch.inference_mode()
    def decode(
        self, stage: str, requests: Sequence[Request], grammars: Sequence[ListGrammar], end_bias: float = 0.0
    ) -> list[list[Listed]]:
        """The list of each prompt, greedily."""
        self._use(stage)
        return [self._list(*each, end_bias) for each in zip(requests, grammars, strict=True)]

    def _read(self, request: Request) -> tuple[DynamicCache, Tensor]:
        cache = DynamicCache()
        if is_prefix_lm(self._model):
            self._forward(cache, request.prefix, 0)
            return cache, self._forward(cache, request.suffix, len(request.prefix))
        return cache, self._forward(cache, request.prefix + request.suffix, 0)

    def _forward(self, cache: DynamicCache, tokens: Sequence[int], position: int) -> Tensor:
        """The logits behind the last of some tokens."""
        device, end = self._model.device, position + len(tokens)
        options: dict[str, Tensor] = {}
        if is_prefix_lm(self._model):
            lowest = torch.finfo(self._model.dtype).min
            unseen = torch.full((len(tokens), end), lowest, dtype=self._model.dtype, device=device)
            options["attention_mask"] = (unseen.triu(position + 1) if position else unseen.zero_())[None, None]
            options["position_ids"] = torch.arange(position, end, device=device)[None]
        with logits_at(self._model, torch.tensor([[len(tokens) - 1]], device=device)):
            output = self._model(
                input_ids=torch.tensor([tokens], device=device), past_key_values=cache, use_cache=True, **options
            )
        logits: Tensor = output.logits[0, 0]
        return logits

    def _list(self, request: Request, grammar: ListGrammar, end_bias: float) -> list[Listed]:
        cache, logits = self._read(request)
        cursor = grammar.start()
        position = len(request.prefix) + len(request.suffix)
        while True:
            allowed = list(cursor.allowed())
            scores = logits[allowed] - end_bias * torch.tensor([token == grammar.end for token in allowed]).to(logits)
            best = allowed[int(scores.argmax())]
            cursor.advance(best)
            if cursor.done:
                return [Listed(item, 1.0) for item in cursor.items]
            logits = self._forward(cache, (best,), position)
            position += 1


@dataclass
class Cost:
    """What some work took.

    Attributes:
        documents: how many documents it was about.
        seconds: how long it took.
        forwards: calls of the model.
        prefilled: tokens that were read several at once, padding included.
        memory: bytes of a GPU that tensors held at the peak; on a CPU, the most that the process ever had.
        reserved: bytes of a GPU that were reserved for tensors.
        answers: the answers.
    """

    documents: int
    seconds: float
    forwards: int
    prefilled: int
    memory: int
    reserved: int
    answers: list[Any]

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / self.seconds


class Meter:
    """Measures work done with a model. To be made once: it listens to the model from then on."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._forwards = self._prefilled = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)
        if model.device.type == "cuda":
            replay = torch.cuda.CUDAGraph.replay

            def counted(graph: torch.cuda.CUDAGraph) -> None:
                self._forwards += 1
                replay(graph)

            torch.cuda.CUDAGraph.replay = counted  # type: ignore[assignment, method-assign]

    def _count(self, _: object, __: object, keywords: Mapping[str, Any]) -> None:
        rows, length = keywords["input_ids"].shape
        self._forwards += 1
        self._prefilled += rows * length * (length > 1)

    def measure(self, documents: int, work: Callable[[], Any]) -> Cost:
        """Does the work once."""
        on_gpu = self._model.device.type == "cuda"
        self._forwards = self._prefilled = 0
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        answers = work()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        memory = torch.cuda.max_memory_allocated() if on_gpu else peak
        reserved = torch.cuda.max_memory_reserved() if on_gpu else 0
        return Cost(documents, seconds, self._forwards, self._prefilled, memory, reserved, answers)


def answer(answerer: Answerer, questions: Sequence[Question], clock: list[float] | None = None) -> list[Any]:
    """Asks everything; notes the seconds of each question in `clock`."""
    answers: list[Any] = []
    for each in questions:
        start = time.perf_counter()
        if each.grammars:
            answers.append(answerer.decode(each.stage, each.requests, each.grammars, each.end_bias))
        else:
            answers.append(answerer.choose(each.stage, each.requests))
        if clock is not None:
            clock.append(time.perf_counter() - start)
    return answers


PROMPTS = {"relation": 1, "head": 10, "fact": 25}
"""Prompts a document, as in Re-DocRED."""
ITEMS = {"relation": (10, 10), "head": (1, 4), "fact": (1, 2)}
"""Items of a list: from, to."""
SUFFIX = {"relation": (12, 16), "head": (25, 50), "fact": (30, 60)}
"""Tokens of an instruction."""
PASSAGE = (200, 320)
SEPARATOR, JOINER, END, YES, NO, FIRST = 3, 4, 2, 5, 6, 10


def redocred_work(documents: int, vocabulary: int) -> list[Question]:
    """Prompts of random tokens with the measures of Re-DocRED's work.

    Lists have a given number of items, as a random model would not know when to end.
    """
    rng = random.Random(0)  # noqa: S311 - not for secrets

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(FIRST, vocabulary) for _ in range(rng.randint(least, most)))

    relations = Trie([tokens(2, 5) for _ in range(96)])
    questions = {stage: (list[Request](), list[ListGrammar]()) for stage in PROMPTS}
    for _ in range(documents):
        passage = tokens(*PASSAGE)
        starts = rng.sample(range(len(passage) - 5), 80)
        names = Trie([passage[start : start + length] for start in starts for length in range(1, 6)])
        for stage, count in PROMPTS.items():
            for _ in range(count):
                questions[stage][0].append(Request((1, *passage), tokens(*SUFFIX[stage]), (1, 1 + len(passage))))
                trie = relations if stage == "relation" else names
                questions[stage][1].append(ListGrammar((trie,), SEPARATOR, END, max_items=rng.randint(*ITEMS[stage])))
    return [Question(stage, *asked, end_bias=1e4) for stage, asked in questions.items()]


def of_documents(questions: Sequence[Question], documents: int) -> Iterator[Question]:
    """The part of the work that is about the first documents."""
    prefixes = list(dict.fromkeys(request.prefix for each in questions for request in each.requests))[:documents]
    for each in questions:
        kept = [index for index, request in enumerate(each.requests) if request.prefix in prefixes]
        yield Question(
            each.stage,
            [each.requests[index] for index in kept],
            [each.grammars[index] for index in kept if each.grammars],
            each.end_bias,
        )


def floor(questions: Sequence[Question], answers: Sequence[Any], shape: "Shape", reach: "Reach", rows: int) -> float:
    """Seconds below which no engine can be that reads each passage once a stage, each instruction once, and with every
    step of all rows the weights once and the cache of the rows.

    Where instructions begin alike or lists share a row's cache, as in the default bundle, an engine can do with less.

    Args:
        questions: the work.
        answers: its answers.
        shape: of the model.
        reach: what the device reaches.
        rows: lists that grow at once.
    """
    seconds = 0.0
    for question, answer_ in zip(questions, answers, strict=True):
        prefixes = sum(map(len, {request.prefix for request in question.requests}))
        prefilled = prefixes + sum(len(request.suffix) for request in question.requests)
        seconds += 2 * shape.parameters * prefilled / reach.flops
        if question.grammars:
            lists = zip(question.grammars, answer_, strict=True)
            written = [sum(len(spelt(grammar, one.item)) for one in items) for grammar, items in lists]
            steps = max(max(written), sum(written) / rows)
            lengths = [len(request.prefix) + len(request.suffix) for request in question.requests]
            cache = sum(length * each for length, each in zip(lengths, written, strict=True)) * shape.cache_bytes
            seconds += (steps * shape.weight_bytes + cache) / reach.bytes
    return seconds


def spelt(grammar: ListGrammar, item: tuple[int, ...]) -> list[int]:
    """The tokens of an item, with the one behind it."""
    entries = (trie.entries[entry] for trie, entry in zip(grammar.fields, item, strict=True))
    return [token for entry in entries for token in (*entry, SEPARATOR)]


@dataclass(frozen=True)
class Shape:
    """A model's size: parameters that every token passes, bytes of all weights, bytes of a token's keys and values."""

    parameters: int
    weight_bytes: int
    cache_bytes: int


@dataclass(frozen=True)
class Reach:
    """What a device reaches: operations a second in a big matrix product, bytes a second in a big copy."""

    flops: float
    bytes: float

    @classmethod
    def measured(cls, device: torch.device, dtype: torch.dtype) -> "Reach":
        """Measured on the spot."""
        size = 8192 if device.type == "cuda" else 1024
        matrix = torch.randn(size, size, device=device, dtype=dtype)
        seconds = min(_seconds(lambda: matrix @ matrix, device) for _ in range(5))
        flops = 2 * size**3 / seconds
        block = torch.zeros(2**30 if device.type == "cuda" else 2**27, device=device, dtype=torch.uint8)
        copied = min(_seconds(block.clone, device) for _ in range(5))
        return cls(flops, 2 * block.nbytes / copied)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
