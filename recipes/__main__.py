"""Makes the default bundle anew: `make bundle DATA=FOLDER`, or `python -m recipes FOLDER`.

FOLDER holds `redocred/dev_revised.json`, `knowledgenet/passages.jsonl` and `fewrel/val_wiki.json`. What is between the
steps stays in `work/`; a base that is there is not trained again. It takes a GPU.

    1. the base, from all-MiniLM-L6-v2, on all stages at once and on all three corpora
    2. from there, on Re-DocRED alone, twice with other seeds
    3. the average of the two, in 4 bit; and the name shapes
    4. the three adapters, by `autore finetune`, as a user would train them, at half their strength
    5. the calibration, on documents that nothing was trained on
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autore_cli.model.bundle import ADAPTER_CONFIG, bundles_folder, read
from autore_cli.model.copylm import CopyLM
from autore_cli.records import AnnotatedDocument
from recipes import augmented_data, make_bundle, name_shapes
from recipes.corpora import split_redocred
from recipes.prompts import BUNDLE
from recipes.train_base import Settings, train
from recipes.tune import tune

WORK = Path("work")
FIRST = Settings(steps=500, warmup=150, knowledgenet=0.5, fewrel=0.5, decay=False, average=0.9)
SEEDS = (1, 2)
STEPS = {"relation": 250, "head": 400, "fact": 500}
FINETUNE = (
    "--batch-size=8", "--rank=32", "--alpha=32", "--target-modules=all-linear", "--max-length=768",
    "--learning-rate=2e-4", "--warmup-ratio=0.1",
)  # fmt: skip


def average(folders: Sequence[Path], output: Path) -> None:
    """Saves the mean of several models' weights (model soup, arXiv 2203.05482)."""
    models: list[Any] = [CopyLM.from_pretrained(folder, dtype=torch.float32) for folder in folders]
    states = [model.state_dict() for model in models]
    mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    models[0].load_state_dict(mean)
    models[0].bfloat16().save_pretrained(output)


def halve(adapter: Path) -> None:
    """Halves the strength of an adapter: between a base and what is tuned from it lies what is better than both
    (arXiv 2109.01903)."""
    file = adapter / ADAPTER_CONFIG
    content = json.loads(file.read_text())
    content["lora_alpha"] //= 2
    file.write_text(json.dumps(content, indent=2))


def train_base(data: Path) -> None:
    """Trains the base into `work/base`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    runs = {WORK / "first": FIRST}
    runs |= {WORK / f"seed-{seed}": Settings(start=str(WORK / "first"), seed=seed) for seed in SEEDS}
    for output, settings in runs.items():
        if not (output / "run.json").exists():
            train(data, output, settings, device, workers=8)
    average([WORK / f"seed-{seed}" for seed in SEEDS], WORK / "base")


def train_adapters(bundle: Path, documents: Sequence[AnnotatedDocument]) -> None:
    """Trains the adapters of all stages into the bundle."""
    augmented_data.write(documents, WORK / "data", copies=4, kept=0.25)
    for stage, steps in STEPS.items():
        command = ("finetune", "--model", bundle, "--stage", stage, "--data", WORK / "data")
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "autore_cli", *map(str, command), f"--steps={steps}", *FINETUNE], check=True
        )
        halve(bundle / stage)


def main(data: Path) -> None:
    """All steps."""
    documents, held_out = split_redocred(data, Settings().held_out)
    train_base(data)
    bundle = WORK / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    make_bundle.quantize(WORK / "base", bundle / "base")
    if BUNDLE.name_shapes:
        name_shapes.fit(documents, bundle / BUNDLE.name_shapes.weights)
    make_bundle.write_toml(bundle, None)
    train_adapters(bundle, documents)
    outcome = tune(read(bundle), held_out)
    make_bundle.write_toml(bundle, outcome.calibration)
    shutil.copytree(bundle, bundles_folder() / BUNDLE.name, dirs_exist_ok=True)
    print(f"held out: precision {outcome.precision:.3f}, recall {outcome.recall:.3f}, F1 {outcome.f1:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
