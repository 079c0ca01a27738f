"""Learns which stretches look like names (`documents.shapes`) from annotated mentions."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from autore_cli.documents.shapes import features
from autore_cli.records import AnnotatedDocument

_RARE = 30
_RIDGE = 0.5


def fit(documents: Sequence[AnnotatedDocument], output: Path) -> None:
    """Writes the weights of a logistic regression, learned from all candidate spans of the documents."""
    rows: list[list[str]] = []
    right: list[float] = []
    for document in documents:
        mentions = {mention for entity in document.entities for mention in entity.mentions}
        for span, found in features(document.document.text):
            rows.append(found)
            right.append(float(span in mentions))
    counts = Counter(feature for row in rows for feature in row)
    known = sorted(feature for feature, count in counts.items() if count >= _RARE)
    number = {feature: place for place, feature in enumerate(known)}
    weights, bias = _regression([[number[each] for each in row if each in number] for row in rows], right, len(known))
    content = {"bias": round(bias, 3), "weights": {name: round(weights[place], 3) for name, place in number.items()}}
    output.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _regression(rows: Sequence[Sequence[int]], right: Sequence[float], size: int) -> tuple[list[float], float]:
    flat = torch.tensor([place for row in rows for place in row])
    lengths = torch.tensor([len(row) for row in rows])
    offsets = lengths.cumsum(0) - lengths
    target = torch.tensor(right)
    weights = torch.zeros(size, 1, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = functional.embedding_bag(flat, weights, offsets, mode="sum")[:, 0] + bias
        error = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        total = error + _RIDGE * weights.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights[:, 0].tolist(), bias.item()
