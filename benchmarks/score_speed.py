"""How long `autore score` takes and how much memory, against a program that only parses the same files as JSON.

    python benchmarks/score_speed.py [DOCUMENTS]

Writes synthetic gold (35 facts a document) and predictions with spans and scores (100 a document) to a temporary
folder: a quarter is right, a tenth has a head that is no entity, the rest are facts that the gold does not have.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from autore_cli import schema
from autore_cli.documents.docred import annotate
from autore_cli.records import AnnotatedDocument

FACTS, PREDICTIONS, ENTITIES, SENTENCES, SLOTS = 35, 100, 20, 8, 5
RELATIONS = [relation.id for relation in schema.default()]
JSON_ALONE = "import json, sys; a = json.load(open(sys.argv[1])); b = [json.loads(line) for line in open(sys.argv[2])]"


def document(number: int, generator: random.Random) -> dict[str, Any]:
    """A DocRED record whose entities are mentioned twice each, by different names of two tokens."""
    sents = [[f"w{generator.randrange(1000)}" for _ in range(5 * SLOTS)] for _ in range(SENTENCES)]
    slots = [(sentence, 5 * slot) for sentence in range(SENTENCES) for slot in range(SLOTS)]
    mentions = [
        {"name": " ".join(sents[i][start : start + 2]), "sent_id": i, "pos": [start, start + 2], "type": "MISC"}
        for i, start in slots
    ]
    pairs = generator.sample([(h, t) for h in range(ENTITIES) for t in range(ENTITIES) if h != t], FACTS)
    labels = [{"h": h, "r": generator.choice(RELATIONS), "t": t, "evidence": [0]} for h, t in pairs]
    entities = [[mentions[i], mentions[i + ENTITIES]] for i in range(ENTITIES)]
    return {"title": f"Document {number}", "sents": sents, "vertexSet": entities, "labels": labels}


def predictions(gold: AnnotatedDocument, generator: random.Random) -> Iterator[dict[str, Any]]:
    """Triples about a document, as JSON lines have them."""
    text = gold.document.text
    spans = [generator.choice(entity.mentions) for entity in gold.entities]
    right = generator.sample(gold.facts, PREDICTIONS // 4)
    claims = [(spans[fact.head], fact.relation_id, spans[fact.tail]) for fact in right]
    while len(claims) < PREDICTIONS:
        start, end = generator.choice(spans)
        head = (start, end + 4) if len(claims) % 10 == 0 else (start, end)
        claims.append((head, generator.choice(RELATIONS), generator.choice(spans)))
    for head, relation, tail in claims:
        yield {
            "doc": gold.document.id,
            "head": text[slice(*head)],
            "relation_id": relation,
            "tail": text[slice(*tail)],
            "head_spans": [head],
            "tail_spans": [tail],
            "score": round(generator.uniform(0.01, 1), 6),
        }


def measure(*command: str | Path) -> tuple[float, float]:
    """Seconds and the largest memory in MB of a child process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"failed: {command}")
    return seconds, usage.ru_maxrss / 1024


def main(number: int) -> None:
    """Writes the files, runs both programs three times, and prints the fastest runs."""
    generator = random.Random(0)  # noqa: S311 - not for secrets
    with tempfile.TemporaryDirectory() as folder:
        gold, predicted = Path(folder, "gold.json"), Path(folder, "predictions.jsonl")
        records = [document(i, generator) for i in range(number)]
        gold.write_bytes(orjson.dumps(records))
        with predicted.open("wb") as file:
            for record in records:
                for row in predictions(annotate(record, "benchmark"), generator):
                    file.write(orjson.dumps(row) + b"\n")
        json_alone = min(measure(sys.executable, "-c", JSON_ALONE, gold, predicted) for _ in range(3))
        score = (sys.executable, "-m", "autore_cli", "score", predicted, gold, "--json")
        runs = {
            "json alone": json_alone,
            "score, no resampling": min(measure(*score, "--resamples", "0") for _ in range(3)),
            "score": min(measure(*score) for _ in range(3)),
        }
    sys.stdout.write(f"{number} documents, {number * FACTS} facts, {number * PREDICTIONS} predictions\n")
    for name, (seconds, memory) in runs.items():
        sys.stdout.write(f"{name:22}{seconds:6.2f} s  {memory:5.0f} MB  {seconds / json_alone[0]:5.1f} x json\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
