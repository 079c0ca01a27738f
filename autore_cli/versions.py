"""The versions of packages."""

from importlib import metadata


def version(package: str) -> str | None:
    """A package's version; None if it isn't installed, as autore itself where its source tree runs."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
