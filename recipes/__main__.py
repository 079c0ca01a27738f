"""Makes the default bundle anew: `make bundle DATA=FOLDER`, or `python -m recipes FOLDER`.

FOLDER holds `redocred/dev_revised.json`, `knowledgenet/passages.jsonl` and `fewrel/val_wiki.json`. All is done twice:
first without 60 held-out documents, on which the calibration is then fitted, and then with all of them. What is between
the steps stays in `work/`; a base that is there is not trained again. It takes a GPU.

    1. the base, from all-MiniLM-L6-v2, on all stages at once and on all three corpora
    2. from there, on Re-DocRED alone, four times with other seeds
    3. the average of the four, in 4 bit; and the name shapes
    4. the three adapters, by `autore finetune`, as a user would train them, at half their strength
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autore_cli.model.bundle import ADAPTER_CONFIG, bundles_folder, read
from autore_cli.model.copylm import CopyLM
from recipes import augmented_data, make_bundle, name_shapes
from recipes.corpora import split_redocred
from recipes.prompts import BUNDLE
from recipes.train_base import Settings, train
from recipes.tune import tune

WORK = Path("work")
HELD_OUT = 60
FIRST = Settings(steps=500, warmup=150, knowledgenet=0.5, fewrel=0.5, decay=False, average=0.9)
SEEDS = (1, 2, 3, 4)
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


def train_base(data: Path, folder: Path, held_out: int) -> None:
    """Trains the base into `folder`/base."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first = folder / "first"
    further = replace(Settings(start=str(first)), held_out=held_out)
    runs = {first: replace(FIRST, held_out=held_out)}
    runs |= {folder / f"seed-{seed}": replace(further, seed=seed) for seed in SEEDS}
    for output, settings in runs.items():
        if not (output / "run.json").exists():
            train(data, output, settings, device, workers=8)
    average([folder / f"seed-{seed}" for seed in SEEDS], folder / "base")


def make(data: Path, folder: Path, held_out: int) -> Path:
    """Makes a bundle without a calibration from all documents but those held out. Returns its folder."""
    train_base(data, folder, held_out)
    documents, _ = split_redocred(data, held_out)
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    make_bundle.quantize(folder / "base", bundle / "base")
    if BUNDLE.name_shapes:
        name_shapes.fit(documents, bundle / BUNDLE.name_shapes.weights)
    make_bundle.write_toml(bundle, None)
    augmented_data.write(documents, folder / "data", copies=4, kept=0.25)
    for stage, steps in STEPS.items():
        command = ("finetune", "--model", bundle, "--stage", stage, "--data", folder / "data")
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "autore_cli", *map(str, command), f"--steps={steps}", *FINETUNE], check=True
        )
        halve(bundle / stage)
    return bundle


def main(data: Path) -> None:
    """All steps."""
    _, held_out = split_redocred(data, HELD_OUT)
    outcome = tune(read(make(data, WORK / "rehearsal", HELD_OUT)), held_out)
    bundle = make(data, WORK / "final", 0)
    make_bundle.write_toml(bundle, outcome.calibration)
    shutil.copytree(bundle, bundles_folder() / BUNDLE.name, dirs_exist_ok=True)
    print(f"held out: precision {outcome.precision:.3f}, recall {outcome.recall:.3f}, F1 {outcome.f1:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
