"""The error tree: what went wrong, where, what to do, and the exit code it ends with.

Library code raises these; only `autore_cli.cli.console` prints them. Exit codes:

    0    all documents done
    1    some documents failed, and are named on stderr and in the report; the others are out
    2    usage or configuration: an unknown option, a setting out of range
    3    input that can't be read, none of it or (with `--on-error stop`) not all of it
    4    a bundle that is missing, incomplete, damaged or of parts that don't fit
    5    output that can't be written: a full disk, no permission, or it is there already or in use by another run
    70   an unexpected error: a bug
    130  interrupted by Ctrl-C, 143 terminated; the batch in work was finished, and what is finished is out
    141  whoever read the output closed it
"""

from collections.abc import Iterator
from contextlib import contextmanager


class AutoreError(Exception):
    """Base of all errors meant for a user.

    Args:
        message: what is wrong, on one line, without a full stop.
        where: the place, as `file`, `file:line`, `file: record 3` (of a JSON list) or a setting's name.
        hint: what to do about it, often a command.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class ConfigurationError(AutoreError):
    """A setting, an option or a schema file that can't be used."""

    exit_code = 2


class InputError(AutoreError):
    """Input that can't be read, or one document of it."""

    exit_code = 3


class DocumentError(AutoreError):
    """A document that could be read, and not extracted from. The others go on."""

    exit_code = 1


class LackOfMemoryError(ConfigurationError):
    """Memory that doesn't suffice even for the smallest batch."""


class BundleError(AutoreError):
    """A bundle that is missing, incomplete, damaged, or whose parts don't fit."""

    exit_code = 4


class OutputError(AutoreError):
    """Output that can't be written."""

    exit_code = 5


def first_line(error: BaseException) -> str:
    """The first line of what an error of somebody else's says; its type's name if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def sayable(text: str) -> str:
    """A text with escapes for what UTF-8, and so JSON, can't hold, as it may stand in names of files."""
    return text.encode(errors="backslashreplace").decode()


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turns the system's errors into an OutputError that says which output it is; a broken pipe stays one."""
    try:
        yield
    except FileExistsError:
        raise OutputError("exists already", where=where, hint="--force replaces it") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"can't be written: {error.strerror}", where=where) from error
