"""No way leads from data to code: none of what could run it stands anywhere in the package."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import autore_cli

PACKAGE = Path(autore_cli.__file__).parent

BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "code", "codeop"}
FUNCTIONS = {
    "os.system",
    "os.popen",
    "os.startfile",
    *(f"os.{name}" for name in dir(os) if name.startswith(("exec", "spawn", "posix_spawn"))),
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "numpy.load",
    "np.load",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pandas.read_pickle",
    "importlib.util.spec_from_file_location",
    "runpy.run_path",
    "runpy.run_module",
    "zipfile.ZipFile.extractall",
    "tarfile.open",
}


def ways(source: str) -> list[str]:
    """What in a module's source could run data, or a shell."""
    return [found for node in ast.walk(ast.parse(source)) for found in _ways(node)]


def _ways(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) if name in BUILTINS:
            yield name
        case ast.Import(names=names):
            yield from (alias.name for alias in names if alias.name.split(".")[0] in MODULES)
        case ast.ImportFrom(module=str(module), names=names):
            dotted = (f"{module}.{alias.name}" for alias in names)
            yield from (name for name in dotted if name.split(".")[0] in MODULES or name in FUNCTIONS)
        case ast.Attribute() if ast.unparse(node) in FUNCTIONS:
            yield ast.unparse(node)
        case ast.keyword(arg="shell", value=value) if not _is_false(value):
            yield "shell="
        case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=True)):
            yield "trust_remote_code=True"
        case ast.keyword(arg="use_safetensors" | "weights_only", value=value) if _is_false(value):
            yield "not safetensors"
        case ast.keyword(arg="allow_pickle", value=value) if not _is_false(value):
            yield "allow_pickle="
        case _:
            pass


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_data(path: Path) -> None:
    assert ways(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "map(eval, texts)",
        "import pickle",
        "from yaml import load",
        "import joblib.numpy_pickle",
        "os.system(command)",
        "from os import system",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=wanted)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, use_safetensors=False)",
    ],
)
def test_the_check_sees(source: str) -> None:
    assert ways(source)


@pytest.mark.parametrize(
    "source",
    ["model.eval()", "re.compile(text)", "torch.compile(f)", "run(command, shell=False)", "orjson.loads(line)"],
)
def test_the_check_lets_pass(source: str) -> None:
    assert ways(source) == []
