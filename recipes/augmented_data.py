"""Training files for `autore finetune` out of augmented documents, as `autore build-data` writes them of plain ones."""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from autore_cli.examples import ExampleMaker, ExampleSettings
from autore_cli.files import as_lines
from autore_cli.model.dataset import STAGE_FILES
from autore_cli.records import AnnotatedDocument
from autore_cli.schema import default
from autore_cli.stages import paradigm
from recipes.augment import Augmenter
from recipes.prompts import PROMPTS


def write(documents: Sequence[AnnotatedDocument], folder: Path, copies: int, kept: float, seed: int = 0) -> None:
    """Writes each stage's file: `copies` augmented versions of every document, with a share of its yes/no examples."""
    rng = random.Random(seed)
    augmenter = Augmenter(documents)
    frequencies = Counter(fact.relation_id for document in documents for fact in document.facts)
    settings = ExampleSettings(orders=1, negative_relations=6, negative_heads=3, wrong_candidates=4)
    maker = ExampleMaker(paradigm("RHF"), PROMPTS, default(), settings, frequencies)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = {stage: stack.enter_context((folder / name).open("wb")) for stage, name in STAGE_FILES.items()}
        for document in list(documents) * copies:
            for example in maker.make(augmenter.augment(document, rng), rng):
                if example.kind != "choose" or example.stage == "relation" or rng.random() < kept:
                    files[example.stage].write(as_lines([example.record()]))
