"""A picture of how a training went, for who has matplotlib (`pip install autore[plot]`)."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FILE = "curves.png"


def draw(folder: Path, losses: Sequence[float], evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Draws the losses of the steps and of what was held out. Without matplotlib it does nothing.

    Args:
        folder: where the picture goes.
        losses: one for each step, in nats a token.
        evaluations: dicts of `step`, `loss` and `f1`, which may be None.
    """
    if not find_spec("matplotlib"):
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss, nats a token")
    axes.plot(range(1, len(losses) + 1), losses, linewidth=1, label="loss")
    steps = [each["step"] for each in evaluations]
    if steps:
        axes.plot(steps, [each["loss"] for each in evaluations], marker="o", label="loss, held out")
    if steps and evaluations[0]["f1"] is not None:
        right = axes.twinx()
        right.set_ylabel("F1")
        right.plot(steps, [each["f1"] for each in evaluations], marker="s", color="green", label="F1, held out")
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(folder / FILE, dpi=120)
