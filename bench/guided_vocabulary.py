"""A vocabulary as large as one likes, of real words: for grammars, the bytes of tokens are all."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from pathlib import Path

from genfast.token_bytes import ByteRule


class WordTokenizer:
    """Bytes, then the commonest pieces of Python's own library; id 2 ends a text."""

    rule = ByteRule(byte_fallback=True)
    special_ids, eos_ids, bos_id = frozenset({2}), [2], None

    def __init__(self, vocab_size: int) -> None:
        count: Counter[str] = Counter()
        for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
            for piece in re.findall(r" ?[A-Za-z_]+| ?[0-9]+|[^\w\s]+|\s+", file.read_text("utf-8")):
                for end in range(2, min(len(piece), 12) + 1):
                    count[piece[:end]] += 1
        words = sorted(count, key=lambda word: (-count[word], word))
        words += [f"{a}{b}" for a in words[:400] for b in words[:400]]
        bytes_ = [f"<0x{i:02X}>" for i in range(256)]
        self._tokens = list(dict.fromkeys(["", "", "<end>", *bytes_[3:], *bytes_[:3], *words]))
        self._tokens = ["", "", "<end>", *self._tokens[2:]][:vocab_size]
        assert len(self._tokens) == vocab_size

    def id_to_token(self, token_id: int) -> str:
        return self._tokens[token_id]

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return []  # no rule of its own: the longest token each time
