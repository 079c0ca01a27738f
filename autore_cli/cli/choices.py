"""What comes of a bundle and the options given with it."""

import logging

from autore_cli.errors import ConfigurationError
from autore_cli.model.bundle import Bundle
from autore_cli.runs.devices import AUTO, parse_devices
from autore_cli.schema import Schema

_SHOWN = 5

_logger = logging.getLogger(__name__)


def warn_of_untrained(relations: Schema, bundle: Bundle) -> None:
    """Warns, once, if the bundle was not trained on some relations."""
    untrained = [relation.id for relation in relations if relation.id not in bundle.trained]
    if bundle.trained and untrained:
        names = ", ".join(untrained[:_SHOWN]) + (", ..." if len(untrained) > _SHOWN else "")
        _logger.warning(
            "'%s' was not trained on %d of the %d relations: %s", bundle.name, len(untrained), len(relations), names
        )


def batch_size(text: str) -> int | None:
    """The number that the option gives; None is `auto`.

    Raises:
        ConfigurationError: it gives neither.
    """
    if text == "auto":
        return None
    if not (text.isdecimal() and int(text) > 0):
        raise ConfigurationError(f"'{text}' is neither 'auto' nor a number above 0", where="--batch-size")
    return int(text)


def devices(device: str, several: str | None) -> list[str]:
    """The devices that `--device` or `--devices` names.

    Raises:
        ConfigurationError: both are given, or as `parse_devices`.
    """
    if several is None:
        return [device]
    if device != AUTO:
        raise ConfigurationError("--devices says what --device does, and more: give one of them")
    return parse_devices(several)
