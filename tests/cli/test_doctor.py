import json
import shutil
from pathlib import Path

import autore_cli
from tests.cli.command import autore, messages

ROOT = Path(autore_cli.__file__).parents[1]


def test_the_report_of_a_machine_where_all_is_well() -> None:
    done = autore("doctor", env={"HF_TOKEN": "secret", "HF_HUB_OFFLINE": "1"})
    assert (done.returncode, done.stderr) == (0, b"")
    report = done.stdout.decode()
    lines = [line.split() for line in report.splitlines()]
    assert lines[0][0] == "autore"
    assert ["torch", *lines[[line[:1] for line in lines].index(["torch"])][1:]] in lines
    assert "4-bit layers work" in report
    assert "redocred-small   whole, 5 files as their sha256 say" in report
    assert "not to be used (HF_HUB_OFFLINE)" in report
    assert "Fridtjof Nansen | place of birth | Oslo" in report
    assert "\n!" not in report
    assert "secret" not in report
    assert all(line.isprintable() and line == line.rstrip() for line in report.splitlines())


def test_another_bundle_and_json(bundle: Path) -> None:
    done = autore("doctor", "--model", bundle, "--device", "cpu", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert list(report) == [
        "autore",
        "system",
        "libraries",
        "devices",
        "bundles",
        "hub",
        f"self-test of {bundle} on cpu",
    ]
    assert report["devices"][0]["name"] == "cpu"
    assert not any(finding["wrong"] for name in report if name != "autore" for finding in report[name])


def test_what_does_not_work_is_marked(tmp_path: Path) -> None:
    """The whole package elsewhere, with a byte of its weights changed."""
    shutil.copytree(ROOT / "autore_cli", tmp_path / "autore_cli")
    shutil.copytree(ROOT / "adapters", tmp_path / "adapters")
    weights = tmp_path / "adapters" / "redocred-small" / "fact" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = autore("doctor", env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 4
    report = done.stdout.decode()
    assert f"! redocred-small   {weights}: is damaged: its sha256 isn't the one in bundle.toml" in report
    assert messages(done) == [
        "autore: error: not all is well: bundles (redocred-small), self-test of redocred-small on auto (error)",
        "autore: hint: the report says what is wrong",
    ]


def test_a_bundle_that_is_not_there_and_a_device_that_is_not_there(bundle: Path) -> None:
    nowhere = autore("doctor", "--model", "nowhere")
    assert nowhere.returncode == 4
    assert "! error            BundleError: no bundle 'nowhere'" in nowhere.stdout.decode()
    no_device = autore("doctor", "--model", bundle, "--device", "cuda:77")
    assert no_device.returncode == 4
    assert "no device 'cuda:77'" in no_device.stdout.decode()
    assert "4-bit layers work" in no_device.stdout.decode()


def test_a_base_that_would_have_to_be_fetched_is_not(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "far"
    shutil.copytree(bundle, copy)
    settings = (copy / "bundle.toml").read_text().replace('base = "base"', 'base = "nobody/nothing"')
    (copy / "bundle.toml").write_text(settings)
    done = autore("doctor", "--model", copy, env={"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")})
    assert done.returncode == 4
    assert "nobody/nothing is not on this machine" in done.stdout.decode()
