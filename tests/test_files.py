import json
import os
from pathlib import Path
from threading import Thread

import pytest

from autore_cli.errors import OutputError
from autore_cli.files import as_lines, write_json


def test_a_record_is_a_line() -> None:
    assert as_lines([{"a": "Ö\n"}, [1]]) == '{"a":"Ö\\n"}\n[1]\n'.encode()


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"steps": 1})
    write_json(path, {"steps": 2})
    with pytest.raises(TypeError):
        write_json(path, {"steps": object()})
    with pytest.raises(OutputError, match="can't be written"):
        write_json(tmp_path / "nowhere" / "run.json", {})
    assert json.loads(path.read_bytes()) == {"steps": 2}
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=write_json, args=(tmp_path / "pipe", [1]))
    writer.start()
    assert json.loads((tmp_path / "pipe").read_bytes()) == [1]
    writer.join()
    assert (tmp_path / "pipe").is_fifo()
