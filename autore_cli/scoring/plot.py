"""A picture of what scores are worth: the precision-recall curve and, for probabilities, their calibration."""

from pathlib import Path
from typing import TYPE_CHECKING

from autore_cli.errors import ConfigurationError, OutputError
from autore_cli.scoring.confidence import Confidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
BLUE, ORANGE, GREY = "#2a6f97", "#e07a1f", "#9aa0a6"


def check(path: Path) -> None:
    """Finds out whether `plot` can write such a file.

    Raises:
        ConfigurationError: the ending is not a picture's, or matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigurationError("not a picture's name", where=str(path), hint=f"end it in {', '.join(FORMATS)}")
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "pictures need matplotlib, which is not installed", where="--plot", hint="pip install 'autore[plot]'"
        ) from error


def plot(confidence: Confidence | None, path: Path) -> None:
    """Draws a picture.

    Args:
        confidence: the figures to draw.
        path: where to; the ending says in which format.

    Raises:
        ConfigurationError: there is nothing to draw, or see `check`.
        OutputError: it can't be written.
    """
    check(path)
    if confidence is None:
        raise ConfigurationError("nothing to draw, as not all predictions have a score", where="--plot")
    from matplotlib.figure import Figure

    panels = 2 if confidence.bins else 1
    figure = Figure(figsize=(4.6 * panels, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_curve(axes[0], confidence)
    if confidence.bins:
        _draw_calibration(axes[1], confidence)
    try:
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=str(path)) from error


def _draw_curve(axes: "Axes", confidence: Confidence) -> None:
    for level in (0.2, 0.4, 0.6, 0.8):
        recalls = [level / 2 + (1 - level / 2) * step / 100 for step in range(1, 101)]
        axes.plot(recalls, [level * r / (2 * r - level) for r in recalls], color=GREY, linewidth=0.6, linestyle=":")
        place = (1, level / (2 - level))
        axes.annotate(f"F1 {100 * level:.0f}", place, color=GREY, fontsize=7, ha="right", va="bottom")
    best, points = confidence.best, confidence.curve
    axes.plot([p.recall for p in points], [p.precision for p in points], color=BLUE, linewidth=1.8)
    label = f"F1 {100 * best.f1:.1f} at {best.threshold:.3g}"
    axes.plot([best.recall], [best.precision], "o", color=ORANGE, label=label)
    axes.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Precision and recall (AP {100 * confidence.average_precision:.1f})", fontsize=10)
    axes.legend(frameon=False, loc="lower left")


def _draw_calibration(axes: "Axes", confidence: Confidence) -> None:
    bins = confidence.bins
    for bin_ in bins:
        axes.bar(bin_.low, bin_.precision, bin_.high - bin_.low, align="edge", color=BLUE, edgecolor="white")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    axes.plot([b.score for b in bins], [b.precision for b in bins], "o", color=ORANGE, markersize=4)
    axes.set(xlabel="Score", ylabel="Right", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Calibration (ECE {100 * (confidence.ece or 0):.1f})", fontsize=10)
