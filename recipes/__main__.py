"""Makes the default bundle anew: `make bundle DATA=FOLDER`, or `python -m recipes FOLDER`.

FOLDER holds `redocred/dev_revised.json`. What is between the steps stays in `work/`; a step whose result is there is
not done again. The base takes a GPU (5 minutes on an H200), the adapters a GPU or some patience.

    1. the base, from all-MiniLM-L6-v2, on all stages at once, from two seeds
    2. the average of the two, in 4 bit
    3. the three adapters, by `autore finetune`, as a user would train them
    4. the calibration, on documents that nothing was trained on
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autore_cli.model.bundle import bundles_folder, read
from autore_cli.model.copylm import CopyLM
from recipes import augmented_data, make_bundle
from recipes.corpora import split_redocred
from recipes.train_base import Settings, train
from recipes.tune import tune

WORK = Path("work")
SEEDS = (0, 1)
STEPS = {"relation": 45, "head": 45, "fact": 100}
FINETUNE = (
    "--batch-size=4", "--rank=32", "--alpha=32", "--dropout=0", "--target-modules=all-linear", "--max-length=768",
    "--learning-rate=2e-4", "--warmup-ratio=0.1",
)  # fmt: skip


def average(folders: Sequence[Path], output: Path) -> None:
    """Saves the mean of several models' weights (model soup, arXiv 2203.05482)."""
    models: list[Any] = [CopyLM.from_pretrained(folder, dtype=torch.float32) for folder in folders]
    states = [model.state_dict() for model in models]
    mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    models[0].load_state_dict(mean)
    models[0].bfloat16().save_pretrained(output)


def main(data: Path) -> None:
    """All steps."""
    settings = Settings()
    documents, held_out = split_redocred(data, settings.held_out)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bases = [WORK / f"base-{seed}" for seed in SEEDS]
    for seed, folder in zip(SEEDS, bases, strict=True):
        if not (folder / "run.json").exists():
            train(data, folder, replace(settings, seed=seed), device, workers=8)
    average(bases, WORK / "base")

    bundle = WORK / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    make_bundle.quantize(WORK / "base", bundle / "base")
    make_bundle.write_toml(bundle, None)
    augmented_data.write(documents, WORK / "data", copies=1, kept=0.35)
    for stage, steps in STEPS.items():
        command = ("finetune", "--model", bundle, "--stage", stage, "--data", WORK / "data")
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "autore_cli", *map(str, command), f"--steps={steps}", *FINETUNE], check=True
        )
    outcome = tune(read(bundle), held_out)
    make_bundle.write_toml(bundle, outcome.calibration)
    shutil.copytree(bundle, bundles_folder() / "redocred-small", dirs_exist_ok=True)
    print(f"held out: precision {outcome.precision:.3f}, recall {outcome.recall:.3f}, F1 {outcome.f1:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
