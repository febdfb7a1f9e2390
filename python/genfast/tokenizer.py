"""Text to ids and back, for every tokenizer file a Hugging Face directory may hold.

`load_tokenizer` picks the file: `tokenizer.json`, else `tokenizer.model` (sentencepiece), else
`vocab.json` + `merges.txt` (byte-level BPE; OpenAI's `encoder.json` + `vocab.bpe` are the same
thing), else, for RWKV, `rwkv_vocab_v20230424.txt` or `vocab.txt`. What the directory says about
special tokens and chat templates is read here too, once, whatever the backend.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genfast.config import read_object
from genfast.errors import LoadError
from genfast.token_bytes import ByteRule

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_NAMED_TOKENS += ("mask_token",)
_BPE_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_WORLD_FILES = ("rwkv_vocab_v20230424.txt", "vocab.txt")
MAX_TOKEN_ID = 2**31 - 1


@dataclass(frozen=True)
class AddedToken:
    """A token matched as a whole in the text, as tokenizer_config.json describes it."""

    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False


@dataclass
class TextConfig:
    """What a directory says about its text beyond the vocabulary."""

    directory: Path
    named: dict[str, str] = field(default_factory=dict)  # "bos_token" -> "<s>" …
    added: dict[int, AddedToken] = field(default_factory=dict)
    add_bos: bool | None = None
    add_eos: bool | None = None
    bos_id: int | None = None
    eos_ids: list[int] = field(default_factory=list)
    chat_template: str | dict[str, str] | None = None
    tokenizer_class: str = ""
    legacy: bool = True
    add_prefix_space: bool | None = None


class Tokenizer(ABC):
    """Text to token ids and back.

    vocab_size: number of ids, added tokens included.
    bos_id: id of the token that begins a text, or None.
    eos_ids: ids that end a generation, possibly none.
    special_ids: ids that `decode` skips by default.
    special_tokens: their texts by role ("bos_token": "<s>" …), for chat templates.
    chat_template: the template, a dict of named ones, or None.
    rule: how tokens become bytes, or None where they do not one by one.
    named: those of special_tokens that the tokenizer's own files name.
    findings: what is odd about the files, a sentence each (conformance.py).
    """

    rule: ByteRule | None = None
    findings: Sequence[str] = ()

    def __init__(self, text: TextConfig, special_ids: Iterable[int]) -> None:
        self.special_ids = frozenset(special_ids)
        self.named = dict(text.named)
        self.special_tokens = dict(text.named)
        self.chat_template = text.chat_template
        self.bos_id = text.bos_id
        if self.bos_id is None and "bos_token" in text.named:
            self.bos_id = self.token_to_id(text.named["bos_token"])
        ids = list(text.eos_ids)
        if "eos_token" in text.named:
            eos = self.token_to_id(text.named["eos_token"])
            ids += [eos] if eos is not None else []
        self.eos_ids = list(dict.fromkeys(ids))
        for role, token_id in (("bos_token", self.bos_id), ("eos_token", next(iter(ids), None))):
            token = self.id_to_token(token_id) if token_id is not None else None
            if token is not None:
                self.special_tokens.setdefault(role, token)
        eos_token = self.special_tokens.get("eos_token")
        self._bos = [self.bos_id] if text.add_bos and self.bos_id is not None else []
        eos_id = self.token_to_id(eos_token) if eos_token is not None else None
        self._eos = [eos_id] if text.add_eos and eos_id is not None else []

    vocab_size: int

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Ids of `text`; `add_special_tokens` adds what the model expects around one (BOS …).

        Text that came out of a chat template already holds its special tokens: pass False.
        """
        if not isinstance(text, str):
            raise ValueError(f"text is {type(text).__name__}; allowed: str")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text holds a lone surrogate at position {error.start} and so is not valid "
                "Unicode; clean it with text.encode('utf-8', 'replace').decode()"
            ) from None
        ids = self._encode(text, add_special_tokens)
        if add_special_tokens:
            if self._bos and ids[:1] != self._bos:
                ids = self._bos + ids
            if self._eos and ids[-1:] != self._eos:
                ids = ids + self._eos
        return ids

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`. Ids outside the vocabulary stand for nothing; broken UTF-8 → U+FFFD.

        Equal to the `tokenizers` library wherever the bytes are valid UTF-8. Where they are not,
        only the broken bytes become U+FFFD: the library spoils the whole run of `<0xHH>` tokens
        around them, which no stream could do, its characters being out already.
        """
        checked = check_ids(ids, "ids")
        if skip_special_tokens:
            checked = [i for i in checked if i not in self.special_ids]
        if self.rule is None:
            return self._decode(checked, skip_special_tokens)
        tokens = (self.id_to_token(i) for i in checked)
        return self.rule.join(token for token in tokens if token is not None)

    @abstractmethod
    def _encode(self, text: str, add_special_tokens: bool) -> list[int]: ...

    @abstractmethod
    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str: ...

    @abstractmethod
    def token_to_id(self, token: str) -> int | None:
        """The id of a token as it stands in the vocabulary, or None."""

    @abstractmethod
    def id_to_token(self, token_id: int) -> str | None:
        """The token of an id as it stands in the vocabulary, or None."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.vocab_size} tokens, eos {self.eos_ids}>"


def check_ids(ids: Iterable[int], name: str) -> list[int]:
    """A list of plain non-negative ints (numpy's are welcome), or ValueError."""
    if isinstance(ids, str | bytes):
        raise ValueError(f"{name} is {type(ids).__name__}; allowed: a sequence of token ids")
    result = []
    try:
        items = list(ids)
    except TypeError:
        raise ValueError(
            f"{name} is {type(ids).__name__}; allowed: a sequence of token ids"
        ) from None
    for position, item in enumerate(items):
        try:
            value = operator.index(item)
        except TypeError:
            value = -1
        if isinstance(item, bool) or not 0 <= value <= MAX_TOKEN_ID:
            raise ValueError(
                f"{name}[{position}] is {item!r}; allowed: an int from 0 to {MAX_TOKEN_ID}"
            )
        result.append(value)
    return result


def load_tokenizer(directory: Path | str, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a model directory, or None when it has none (then: ids only).

    `config` is the parsed config.json. Anything wrong in a file raises LoadError naming it.
    """
    directory = Path(directory)
    if (path := directory / "tokenizer.json").is_file():
        from genfast.tokenizer_hf import load_tokenizer_json

        return load_tokenizer_json(path, read_text_config(directory, config))
    if (path := directory / "tokenizer.model").is_file():
        from genfast.tokenizer_spm import load_sentencepiece

        return load_sentencepiece(path, read_text_config(directory, config))
    for vocab_name, merges_name in _BPE_FILES:
        vocab, merges = directory / vocab_name, directory / merges_name
        if vocab.is_file() and merges.is_file():
            from genfast.tokenizer_hf import load_bpe

            return load_bpe(vocab, merges, read_text_config(directory, config))
    if str(config.get("model_type")).startswith("rwkv"):
        for path in filter(Path.is_file, (directory / name for name in _WORLD_FILES)):
            from genfast.tokenizer_world import load_world

            return load_world(path, read_text_config(directory, config))
    return None


# --- reading what the directory says -------------------------------------------------------


@contextmanager
def backend_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns whatever a tokenizer library throws, Rust panics included, into LoadError."""
    try:
        yield
    except LoadError:
        raise
    except BaseException as error:
        # A Rust panic arrives as pyo3_runtime.PanicException, which derives from BaseException.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LoadError(f"{path}: {doing} failed: {reason}") from None


def read_text_config(directory: Path, config: Mapping[str, Any]) -> TextConfig:
    """Special tokens, added tokens, BOS/EOS habits and chat templates of a directory."""
    text = TextConfig(directory)
    if (path := directory / "special_tokens_map.json").is_file():
        _read_named(path, read_object(path), text)
    if (path := directory / "added_tokens.json").is_file():
        for content, token_id in read_object(path).items():
            _check_token_id(path, content, token_id)
            text.added[token_id] = AddedToken(content)
    if (path := directory / "tokenizer_config.json").is_file():
        _read_tokenizer_config(path, read_object(path), text)
    _read_template_files(directory, text)

    config_path, generation_path = directory / "config.json", directory / "generation_config.json"
    generation = read_object(generation_path) if generation_path.is_file() else {}
    for path, source in ((generation_path, generation), (config_path, config)):
        if text.bos_id is None:
            text.bos_id = next(iter(_ids_of(path, source, "bos_token_id")), None)
        if not text.eos_ids:
            text.eos_ids = _ids_of(path, source, "eos_token_id")
    return text


def _read_tokenizer_config(path: Path, data: dict[str, Any], text: TextConfig) -> None:
    _read_named(path, data, text)
    for key, attribute in (
        ("add_bos_token", "add_bos"),
        ("add_eos_token", "add_eos"),
        ("legacy", "legacy"),
        ("add_prefix_space", "add_prefix_space"),
    ):
        value = data.get(key)
        if value is not None:
            if not isinstance(value, bool):
                raise LoadError(f"{path}: {key} is {value!r}, expected true or false")
            setattr(text, attribute, value)
    kind = data.get("tokenizer_class")
    text.tokenizer_class = kind if isinstance(kind, str) else ""
    decoder = data.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise LoadError(f"{path}: added_tokens_decoder is {decoder!r:.80}, expected an object")
    for key, entry in decoder.items():
        if not key.isascii() or not key.isdigit() or int(key) > MAX_TOKEN_ID:
            raise LoadError(f"{path}: added_tokens_decoder has the key {key!r}, expected an id")
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise LoadError(f"{path}: added_tokens_decoder[{key!r}] has no content string")
        flags = {
            name: entry[name] is True
            for name in ("special", "lstrip", "rstrip", "normalized", "single_word")
            if name in entry
        }
        text.added[int(key)] = AddedToken(entry["content"], **flags)
    if (template := data.get("chat_template")) is not None:
        text.chat_template = _checked_template(path, template)


def _read_named(path: Path, data: dict[str, Any], text: TextConfig) -> None:
    """Takes "bos_token" and its like, each a string or an object with a content string."""
    for name in _NAMED_TOKENS:
        value = data.get(name)
        if isinstance(value, dict):
            value = value.get("content")
            if value is None:
                raise LoadError(f"{path}: {name} is an object without content")
        if value is None:
            continue
        if not isinstance(value, str):
            raise LoadError(f"{path}: {name} is {value!r:.80}, expected a string")
        if value:
            text.named[name] = value


def _read_template_files(directory: Path, text: TextConfig) -> None:
    """chat_template.json and chat_template.jinja win over tokenizer_config.json, as upstream."""
    if (path := directory / "chat_template.json").is_file():
        template = read_object(path).get("chat_template")
        if template is None:
            raise LoadError(f"{path}: has no chat_template field")
        text.chat_template = _checked_template(path, template)
    named: dict[str, str] = {}
    if (path := directory / "chat_template.jinja").is_file():
        named["default"] = _read_template(path)
    folder = directory / "additional_chat_templates"
    if folder.is_dir():
        named.update({p.stem: _read_template(p) for p in sorted(folder.glob("*.jinja"))})
    if named:
        if "default" not in named and isinstance(text.chat_template, str):
            named["default"] = text.chat_template
        text.chat_template = named["default"] if list(named) == ["default"] else named


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _checked_template(path: Path, template: Any) -> str | dict[str, str]:
    """A template string, or {name: template} from an object or a list of {name, template}."""
    if isinstance(template, str):
        return template
    if isinstance(template, list):
        pairs = [
            (entry.get("name"), entry.get("template")) if isinstance(entry, dict) else (None, None)
            for entry in template
        ]
    elif isinstance(template, dict):
        pairs = list(template.items())
    else:
        raise LoadError(
            f"{path}: chat_template is {template!r:.80}, expected a string, or a list of "
            "objects with name and template"
        )
    for index, (name, source) in enumerate(pairs):
        if not isinstance(name, str) or not isinstance(source, str):
            raise LoadError(f"{path}: chat_template[{index}] lacks a name or a template string")
    return dict(pairs)


def _check_token_id(path: Path, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKEN_ID:
        raise LoadError(f"{path}: {name!r} has the id {value!r:.80}, expected an int from 0")


def _ids_of(path: Path, source: Mapping[str, Any], key: str) -> list[int]:
    """One id or a list of them from a config object, [] where there is none."""
    value = source.get(key)
    if value is None and isinstance(source.get("text_config"), Mapping):
        value = source["text_config"].get(key)
    if value is None or value == -1:  # -1: how some old files write "none"
        return []
    ids = value if isinstance(value, list) else [value]
    for item in ids:
        _check_token_id(path, key, item)
    return list(ids)
