import subprocess
import sys

import pytest

from autore_cli.errors import ConfigurationError
from autore_cli.runs.devices import parse_devices
from tests.cli.command import environment


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cpu", ["cpu"]),
        ("cpu,cpu", ["cpu", "cpu"]),
        ("cuda:0, cuda:1", ["cuda:0", "cuda:1"]),
        ("cuda:0,cuda:0,cpu", ["cuda:0", "cuda:0", "cpu"]),
        ("cuda", ["cuda"]),
    ],
)
def test_a_list_is_taken_as_it_is(text: str, devices: list[str]) -> None:
    assert parse_devices(text) == devices


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1000", "2.5", "\u00b2", "0,1", "gpu", "cpu,", "cpu;cpu", "cuda:", "cuda:x", "auto,auto", "all"],
)
def test_nonsense_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_devices(text)
    assert error.value.where == "--devices"
    assert "--devices" in str(error.value.hint)


def test_without_gpus_a_number_is_one_of_processes_and_nothing_heavy_is_loaded() -> None:
    code = "import sys; from autore_cli.runs.devices import parse_devices as p; print(p('3'), p('auto'), *sys.modules)"
    env = environment({"CUDA_VISIBLE_DEVICES": ""})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    devices, _, modules = done.stdout.decode().partition(" sys ")
    assert devices.startswith("['cpu', 'cpu', 'cpu'] ['auto']")
    assert "torch" not in modules.split()


@pytest.mark.gpu
def test_gpus_are_counted_as_torch_counts_them() -> None:
    torch = pytest.importorskip("torch")

    count = torch.cuda.device_count()
    if not count:
        pytest.skip("no GPU")
    gpus = [f"cuda:{number}" for number in range(count)]
    assert parse_devices("auto") == parse_devices(str(count)) == gpus
    with pytest.raises(ConfigurationError, match=f"asks for {count + 1} GPUs"):
        parse_devices(str(count + 1))
