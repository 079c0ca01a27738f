"""Code that comes with a model runs only when it is asked for."""

import json
import pickle
from pathlib import Path

import pytest

from tests.cli.command import autore, messages

TEXT = b"Mara Lindqvist was born in Fjellhavn. Her husband Tomas Reval wrote The Quiet Harbour there."

CONFIGURATION = """\
from pathlib import Path
from transformers import MistralConfig

Path({marker!r}).write_text("was here")


class VisitorConfig(MistralConfig):
    model_type = "visitor"
"""
MODEL = """\
from transformers import MistralForCausalLM

from .configuration_visitor import VisitorConfig


class VisitorForCausalLM(MistralForCausalLM):
    config_class = VisitorConfig
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that is there once the base's code has run."""
    return tmp_path / "marker"


@pytest.fixture
def visitor(bundle: Path, marker: Path) -> Path:
    """A bundle whose base comes with Python files, without which it can't be loaded."""
    base = bundle / "base"
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "visitor",
        "architectures": ["VisitorForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_visitor.VisitorConfig",
            "AutoModelForCausalLM": "modeling_visitor.VisitorForCausalLM",
        },
    }
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "configuration_visitor.py").write_text(CONFIGURATION.format(marker=str(marker)))
    (base / "modeling_visitor.py").write_text(MODEL)
    return bundle


def test_it_does_not_run_unasked(visitor: Path, marker: Path, tmp_path: Path) -> None:
    done = autore("extract", "--model", visitor, "-", stdin=TEXT, env={"HF_HOME": str(tmp_path / "hf")})
    assert (done.returncode, done.stdout) == (4, b"")
    assert not marker.exists()
    assert "--trust-remote-code" in messages(done)[-1]


def test_it_runs_when_it_is_asked_for_and_after_a_warning(visitor: Path, marker: Path, tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path / "hf")}
    done = autore("extract", "--model", visitor, "--trust-remote-code", "-", stdin=TEXT, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert marker.exists()
    warnings = [line for line in messages(done) if "warning" in line]
    assert warnings == [f"autore: warning: running the Python files that come with {visitor / 'base'}"]


class Explosive:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.marker,)


@pytest.mark.parametrize("place", ["base/pytorch_model.bin", "head/adapter_model.bin"])
def test_pickled_weights_are_not_opened(bundle: Path, marker: Path, place: str) -> None:
    for file in (bundle / place).parent.glob("*.safetensors"):
        file.unlink()
    (bundle / place).write_bytes(pickle.dumps(Explosive(marker)))
    done = autore("extract", "--model", bundle, "-", stdin=TEXT)
    assert (done.returncode, done.stdout) == (4, b"")
    assert not marker.exists()
    pickle.loads((bundle / place).read_bytes())
    assert marker.exists()  # it would have been
