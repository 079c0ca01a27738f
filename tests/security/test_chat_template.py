"""Chat templates come with a base's tokenizer, and are small programs: they can render text, and nothing else."""

from pathlib import Path

import pytest

from autore_cli.errors import BundleError
from autore_cli.model.encoder import TokenizerEncoder
from tests.model import tiny


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__ }}",
        "{{ cycler.__init__.__globals__.os.mkdir('MARKER') }}",
        "{{ self.__init__.__globals__.__builtins__.open('MARKER', 'w') }}",
        "{{ raise_exception.__globals__['jinja2'] }}",
        "{% set _ = messages.append(1) %}",
        "{{ open('MARKER', 'w') }}",
        "{{ raise_exception('no') }}",
        "{% for %}",
    ],
)
def test_it_can_only_render(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(BundleError, match="chat template"):
        TokenizerEncoder(tokenizer).chat_ends()
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_one_is_rendered() -> None:
    assert TokenizerEncoder(tiny.tokenizer()).chat_ends() == ("<s>[INST] ", " [/INST]")
