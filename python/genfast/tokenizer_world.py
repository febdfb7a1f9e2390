"""The tokenizer of RWKV's World models: the longest token that the vocabulary has, again and again.

A line of rwkv_vocab_v20230424.txt is an id, a token as a Python literal, of text or of bytes, and
its length in bytes; a line of vocab.txt, which some directories have, a literal alone, numbered
from 0 on. What splits text there is Python code beside the weights; this is what the models were
trained with, as BlinkDL's rwkv package has it.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from genfast.errors import LoadError
from genfast.token_bytes import ByteRule, byte_level_alphabet
from genfast.tokenizer import TextConfig, Tokenizer

END_OF_TEXT = "<|rwkv_tokenizer_end_of_text|>"  # id 0, where no line says another
MAX_BYTES = 1 << 16  # of a line
MAX_ID = 1 << 22
_LITERAL = r"(b?(?:'.*'|\".*\"))"
_LINE = re.compile(rf"(?:(\d{{1,9}}) {_LITERAL} (\d{{1,9}})|{_LITERAL})")


class WorldTokenizer(Tokenizer):
    """Tokens are bytes; `id_to_token` writes them in GPT-2's alphabet, as byte-level BPE does.

    tokens: bytes by id, all single ones among them; end: the text of id 0.
    """

    rule = ByteRule(byte_level=True)

    def __init__(self, tokens: dict[int, bytes], end: str, text: TextConfig) -> None:
        self._ids = {token: i for i, token in tokens.items()}
        letters = {byte: letter for letter, byte in byte_level_alphabet().items()}
        names = ((i, token.decode("latin-1").translate(letters)) for i, token in tokens.items())
        self._names = dict(names)
        self._by_name = {name: i for i, name in self._names.items()}
        self._end = self._names[0] = end
        lengths = defaultdict(set)  # of tokens, by how they begin
        for token in self._ids:
            lengths[token[:2]].add(len(token))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self.vocab_size = max(self._names) + 1
        # Directories call "\n\n" the eos_token, which is a token of any text.
        text.named = {role: token for role, token in text.named.items() if token == end}
        super().__init__(text, [0])

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(text.split(self._end)):
            ids += [0] if index else []
            ids += self._longest(part.encode())
        return ids

    def _longest(self, data: bytes) -> Iterator[int]:
        at = 0
        while at < len(data):
            for length in self._lengths.get(data[at : at + 2], ()):
                found = self._ids.get(data[at : at + length])
                if found is not None:
                    break
            else:
                found, length = self._ids[data[at : at + 1]], 1
            yield found
            at += length

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        raise AssertionError("World's tokens always have a byte rule")

    def token_to_id(self, token: str) -> int | None:
        return 0 if token == self._end else self._by_name.get(token)

    def id_to_token(self, token_id: int) -> str | None:
        return self._names.get(token_id)


def load_world(path: Path, text: TextConfig) -> WorldTokenizer:
    """Opens rwkv_vocab_v20230424.txt or vocab.txt."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(lines, 1):
        token_id, token = _parsed(path, number, line)
        if token_id in tokens:
            raise LoadError(f"{path}: line {number} has the id {token_id}, as a line before it")
        tokens[token_id] = token
    end = tokens.pop(0, END_OF_TEXT.encode()).decode(errors="replace")
    if 0 in text.added:
        end = text.added[0].content or end
    known = set(tokens.values())
    missing = [byte for byte in range(256) if bytes([byte]) not in known]
    if missing:
        raise LoadError(
            f"{path}: no line is the byte 0x{missing[0]:02x}; expected all 256, so that every text "
            "has tokens"
        )
    return WorldTokenizer(tokens, end, text)


def _parsed(path: Path, number: int, line: str) -> tuple[int, bytes]:
    """The id and the bytes of a line."""
    match = _LINE.fullmatch(line) if len(line) <= MAX_BYTES else None
    if match is None:
        raise LoadError(
            f"{path}: line {number} is {line!r:.60}, expected an id, a token in quotes and its "
            "length, or a token alone"
        )
    literal = match[2] or match[4]
    try:
        plain = literal[1:-1]
        token = plain if "\\" not in literal and literal[0] != "b" else ast.literal_eval(literal)
        token = token.encode() if isinstance(token, str) else token
    except (SyntaxError, ValueError, AttributeError, MemoryError, RecursionError):
        raise LoadError(f"{path}: line {number}: {literal:.60} is no Python literal") from None
    if not token or len(token) != int(match[3] or len(token)):
        raise LoadError(
            f"{path}: line {number}: {literal:.60} is {len(token)} bytes long, the line says "
            f"{match[3]}"
        )
    token_id = int(match[1] or number - 1)
    if token_id > MAX_ID:
        raise LoadError(f"{path}: line {number} has the id {token_id}, expected at most {MAX_ID}")
    return token_id, token
