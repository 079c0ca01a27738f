from tests.cli.conftest import bundle

__all__ = ["bundle"]
