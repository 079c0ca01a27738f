"""The settings of fine-tuning: each with its default, its range and its help, here and nowhere else.

The defaults of rank, alpha, dropout, learning rate, schedule and length are AutoRE's (arXiv 2403.14888).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from autore_cli.errors import ConfigurationError
from autore_cli.model.tables import Table

ALL_LINEAR = "all-linear"
OPTIMISERS = ("adamw", "adamw-8bit")


def _setting(default: Any, kind: type, what: str, valid: Callable[[Any], bool], text: str) -> Any:
    return field(default=default, metadata={"kind": kind, "what": what, "valid": valid, "help": text})


def _count(default: int | None, text: str) -> Any:
    return _setting(default, int, "a whole number of 1 or more", lambda value: value >= 1, text)


def _fraction(default: float, text: str) -> Any:
    return _setting(default, float, "a number of at least 0 and below 1", lambda value: 0 <= value < 1, text)


def _above_zero(default: float, text: str) -> Any:
    return _setting(default, float, "a number above 0", lambda value: value > 0, text)


def _switch(default: bool | None, text: str) -> Any:
    return _setting(default, bool, "true or false", lambda _: True, text)


def _are_names(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(name, str) and name for name in value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSettings:
    """How adapters are trained. `None` leaves a setting to the model or to the other settings.

    Raises:
        ConfigurationError: settings are out of range; all problems are listed at once.
    """

    rank: int = _count(100, "LoRA's rank.")
    alpha: int = _count(16, "LoRA's alpha: its update is scaled by alpha/rank.")
    dropout: float = _fraction(0.05, "Dropout before LoRA's layers.")
    target_modules: tuple[str, ...] | None = _setting(
        None,
        list,
        f"a list of module names, or of '{ALL_LINEAR}' alone",
        _are_names,
        "The linear layers that get LoRA: names, or all-linear. Without it q_proj,v_proj or query_key_value, "
        "whichever the model has.",
    )
    learning_rate: float = _above_zero(5e-5, "The highest learning rate; it then falls along a cosine.")
    warmup_ratio: float = _fraction(0.0, "The part of the steps in which the learning rate rises.")
    weight_decay: float = _fraction(0.0, "AdamW's weight decay.")
    optimiser: str = _setting(
        "adamw",
        str,
        f"one of {', '.join(OPTIMISERS)}",
        OPTIMISERS.__contains__,
        "adamw, or adamw-8bit, whose moments take a quarter of the memory (bitsandbytes).",
    )
    epochs: float = _above_zero(3.0, "How often the data is gone through.")
    steps: int | None = _count(None, "Optimiser steps, in place of epochs.")
    batch_size: int = _count(8, "Rows on a device at once; a row is a passage with its prompts.")
    gradient_accumulation: int = _count(1, "Batches of a step.")
    max_length: int = _count(2048, "Tokens of a row; longer ones are split, longer prompts left out and counted.")
    packing: bool = _switch(True, "Put all prompts of a passage behind one copy of it. Same loss, less time.")
    gradient_checkpointing: bool | None = _switch(
        None, "Compute activations twice to save memory. Without it: on a GPU, for models above 1e9 parameters."
    )
    held_out: float = _fraction(
        0.0, "The part of the documents to keep aside, for early stopping by the stage's F1 on them."
    )
    evaluate_every: int = _count(100, "Steps between two evaluations of what is held out.")
    patience: int = _count(3, "Evaluations without a better F1 (or loss, where there is no F1) after which it stops.")
    save_every: int = _count(
        100, "Steps between two checkpoints, from which --resume continues; with --held-out, as --evaluate-every."
    )
    seed: int = _setting(
        0, int, "a whole number of 0 or more", lambda value: value >= 0, "Seed of the weights, the order, dropout."
    )

    def __post_init__(self) -> None:
        content = {name: value for name, value in asdict(self).items() if value is not None}
        if self.target_modules is not None:
            content["target_modules"] = list(self.target_modules)
        _check(content)


def resolve(*tables: Mapping[str, Any]) -> FinetuneSettings:
    """The settings that tables give, later ones above earlier ones. A value of None counts as not given.

    Raises:
        ConfigurationError: unknown settings, or some out of range; all problems are listed at once.
    """
    content = {name: value for table in tables for name, value in table.items() if value is not None}
    _check(content)
    if "target_modules" in content:
        content["target_modules"] = tuple(content["target_modules"])
    return FinetuneSettings(**content)


def help_of(name: str) -> str:
    """What a setting is."""
    (text,) = (each.metadata["help"] for each in fields(FinetuneSettings) if each.name == name)
    return str(text)


def _check(content: Mapping[str, Any]) -> None:
    table = Table(content)
    for each in fields(FinetuneSettings):
        table.optional(each.name, each.metadata["kind"], what=each.metadata["what"], valid=each.metadata["valid"])
    table.close()
    if table.problems:
        raise ConfigurationError("; ".join(table.problems))
