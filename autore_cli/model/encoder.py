"""A transformers tokenizer as the rest of autore sees one (`generation.Encoder`)."""

from collections.abc import Sequence
from functools import cached_property, lru_cache

from jinja2 import TemplateError
from tokenizers import Encoding as TokenizersEncoding
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from autore_cli.errors import BundleError, InputError
from autore_cli.generation import Encoding
from autore_cli.model.bundle import Bundle
from autore_cli.model.sources import base_folder, reading, warn_of_remote_code
from autore_cli.records import Span
from autore_cli.stages import NO, YES, Prompts

_CACHED_TEXTS = 256
_LONGEST_CACHED = 8192  # characters: windows are shorter, and 256 whole documents could take up all memory
_USER = "\u0001"  # stands for the user's words while a chat template is rendered


class TokenizerEncoder:
    """Tokenises plain text and prompt templates; knows the ids that lists and answers are made of.

    No token is added at the ends. In plain text no token is special: `</s>` or `[INST]` come out as the tokens of their
    letters.

    Args:
        tokenizer: a tokenizer that the Rust library `tokenizers` runs (a "fast" one).
        where: the place for messages.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, where: str = "tokenizer") -> None:
        if not tokenizer.is_fast:
            raise BundleError("isn't a fast tokenizer, which alone tells where tokens stand in a text", where=where)
        self.tokenizer = tokenizer
        self._where = where
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        self._special = _special_ids(tokenizer)
        self._encode = lru_cache(_CACHED_TEXTS)(self._encode_plain)
        self._template = lru_cache(_CACHED_TEXTS)(self._encode_template)

    def encode(self, text: str) -> Encoding:
        """Tokenises plain text. Raises InputError for text that isn't Unicode (lone surrogates)."""
        return self._encode(text) if len(text) <= _LONGEST_CACHED else self._encode_plain(text)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, as `encode` gives them."""
        return [
            encoded.ids if self._special.isdisjoint(encoded.ids) else self.encode(text).ids
            for text, encoded in zip(texts, self._run(texts), strict=True)
        ]

    def encode_template(self, text: str) -> list[int]:
        """Tokenises a piece of a prompt template, in which special tokens are special."""
        return list(self._template(text))

    def token(self, text: str) -> int:
        """The id that stands for a separator or an answer in a list: the last of its tokens, spaces around it aside.

        Raises:
            BundleError: the tokenizer has no token for it.
        """
        ids = self.encode(text.strip(" ") or text).ids
        if not ids or ids[-1] == self.tokenizer.unk_token_id:
            raise BundleError(f"the tokenizer has no token for {text!r}", where=self._where)
        return ids[-1]

    @cached_property
    def yes(self) -> int:
        """The answer that a candidate is right."""
        return self.token(YES)

    @cached_property
    def no(self) -> int:
        """The answer that it isn't."""
        return self.token(NO)

    @cached_property
    def end(self) -> int:
        """The end of a list: the tokenizer's end of a text, or for BERT's its separator."""
        for end in (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id):
            if isinstance(end, int):
                return end
        raise BundleError("the tokenizer has no token for the end of a text", where=self._where)

    @cached_property
    def pad(self) -> int:
        """What fills a row; any id would do, since nothing sees it."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else self.end

    def chat_ends(self) -> tuple[str, str]:
        """What the chat template, rendered by transformers in Jinja's sandbox, puts before and after a user's words.

        Raises:
            BundleError: there is no chat template, it fails, or it changes the words.
        """
        if not self.tokenizer.chat_template:
            raise BundleError(
                "the tokenizer has no chat template",
                where=self._where,
                hint="give `opening` and `closing`, or all templates, in bundle.toml",
            )
        message = [{"role": "user", "content": _USER}]
        try:
            text = str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise BundleError(f"the chat template can't be rendered: {error.message}", where=self._where) from error
        if text.count(_USER) != 1:
            raise BundleError("the chat template doesn't hold the user's words once", where=self._where)
        opening, closing = text.split(_USER)
        return opening, closing

    def _encode_plain(self, text: str) -> Encoding:
        """Some tokenizers know a special token as a plain word, too: then the text is cut inside it, and read again."""
        cuts = {0}
        while True:
            starts = sorted(cuts)
            pieces = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
            ids: list[int] = []
            offsets: list[Span] = []
            for first, piece in zip(starts, self._run(pieces), strict=True):
                ids += piece.ids
                offsets += [(start + first, end + first) for start, end in piece.offsets]
            special = [span for id_, span in zip(ids, offsets, strict=True) if id_ in self._special]
            inside = {start + 1 for start, end in special if end - start > 1}
            if not inside:
                return Encoding(ids, offsets)
            cuts |= inside

    def _encode_template(self, text: str) -> tuple[int, ...]:
        self._backend.encode_special_tokens = False
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    def _run(self, texts: Sequence[str]) -> list[TokenizersEncoding]:
        self._backend.encode_special_tokens = True
        try:
            encoded: list[TokenizersEncoding] = self._backend.encode_batch(list(texts), add_special_tokens=False)
        except TypeError:  # "TextInputSequence must be str"
            raise InputError("the text holds a lone surrogate, which isn't Unicode") from None
        return encoded


def load_encoder(bundle: Bundle, *, trust_remote_code: bool = False) -> TokenizerEncoder:
    """The tokenizer of a bundle's base.

    Args:
        bundle: names the base.
        trust_remote_code: runs the Python files that come with the base.

    Raises:
        BundleError: it is missing, damaged, or not a fast one.
    """
    folder = base_folder(bundle, weights=False)
    if trust_remote_code:
        warn_of_remote_code(bundle.base_source())
    with reading(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    return TokenizerEncoder(tokenizer, where=str(folder))


def prompts(bundle: Bundle, encoder: TokenizerEncoder) -> Prompts:
    """The bundle's prompts, in its tokenizer's chat template if they need one. Raises BundleError as `chat_ends`."""
    return bundle.prompts(*(encoder.chat_ends() if bundle.needs_chat_template() else ()))


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that plain text must not bring in; the unknown token is none of them.

    Not all of a chat's control tokens are marked as special, so added tokens with a letter or digit in them count, too.
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {id_ for id_, token in added if token.special or any(map(str.isalnum, token.content))}
    return frozenset(special - {tokenizer.unk_token_id})
