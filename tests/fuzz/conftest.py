import pytest
import torch

from autore_cli.pipeline import Pipeline
from autore_cli.runs.setup import Setup
from tests.model import tiny
from tests.security.conftest import two_relations

torch.set_num_threads(1)


@pytest.fixture(scope="package", params=tiny.KINDS)
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The whole pipeline over a tiny random model, which says yes to every relation; one for each kind of tokenizer."""
    kind: tiny.Kind = request.param
    folder = two_relations(tiny.bundle(tmp_path_factory.mktemp("bundles") / kind, kind=kind, seed=2))
    return Setup(str(folder)).pipeline("cpu")
