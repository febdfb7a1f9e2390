"""Tokens as bytes: what makes decoding and streaming one and the same thing.

Nearly every generative tokenizer is *bytewise*: each token stands for a fixed run of bytes, a
text is those runs joined and read as UTF-8, and the only thing that depends on context is the
space dropped at the very beginning. `ByteRule` captures that, read from the `decoder` field of
tokenizer.json. Decoders that are not bytewise (WordPiece, CTC …) have no rule; callers then
decode windows of tokens with the library's own decoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SPACE_MARK = "\u2581"  # ▁, sentencepiece's visible space


@lru_cache(maxsize=1)
def byte_level_alphabet() -> dict[str, int]:
    """GPT-2's printable character for each byte: itself where printable, else 256, 257, …"""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in set(printable)]
    table = {chr(b): b for b in printable}
    table.update({chr(256 + i): b for i, b in enumerate(hidden)})
    return table


@dataclass(frozen=True)
class ByteRule:
    """How one token becomes bytes, and what happens at the beginning of a text.

    byte_level: tokens are written in GPT-2's alphabet of printable characters.
    replace: (old, new) pairs applied to a token's text.
    byte_fallback: a token `<0xHH>` is the byte HH.
    lead: what is dropped at the beginning: "" nothing, "space" one space,
        "marks" every ▁ of the first token (what a Metaspace decoder does).
    """

    byte_level: bool = False
    replace: tuple[tuple[str, str], ...] = ()
    byte_fallback: bool = False
    lead: str = ""

    def to_bytes(self, token: str, first: bool = False) -> bytes:
        """Bytes of `token`; `first` says that no token came before it in the text."""
        if self.byte_level:
            alphabet = byte_level_alphabet()
            try:
                return bytes([alphabet[c] for c in token])
            except KeyError:  # an added token: written as plain text
                return token.encode("utf-8", "replace")
        if self.byte_fallback and len(token) == 6 and token[:3] == "<0x" and token[5] == ">":
            try:
                return bytes([int(token[3:5], 16)])
            except ValueError:
                pass
        if first and self.lead == "marks":
            token = token.replace(SPACE_MARK, "")
        for old, new in self.replace:
            token = token.replace(old, new)
        return token.encode("utf-8", "replace")

    def join(self, tokens: Iterable[str]) -> str:
        """The text of a whole sequence of tokens."""
        parts = [self.to_bytes(token, first=i == 0) for i, token in enumerate(tokens)]
        data = b"".join(parts)
        if self.lead == "space" and data[:1] == b" ":
            data = data[1:]
        return data.decode("utf-8", "replace")


SENTENCEPIECE = ByteRule(replace=((SPACE_MARK, " "),), byte_fallback=True, lead="space")


def rule_from_decoder(decoder: Any) -> ByteRule | None:
    """The rule that a tokenizer.json `decoder` object amounts to, or None if it is not bytewise."""
    if not isinstance(decoder, dict):
        return None
    kind = decoder.get("type")
    if kind == "ByteLevel":
        return ByteRule(byte_level=True)
    if kind == "Metaspace":
        mark = decoder.get("replacement", SPACE_MARK)
        if mark != SPACE_MARK:
            return None
        scheme = decoder.get("prepend_scheme")
        if scheme is None:  # files written before `prepend_scheme` existed
            scheme = "always" if decoder.get("add_prefix_space", True) else "never"
        return ByteRule(replace=((SPACE_MARK, " "),), lead="" if scheme == "never" else "marks")
    if kind == "Sequence" and isinstance(decoder.get("decoders"), list):
        return _rule_from_sequence(decoder["decoders"])
    return None


def _rule_from_sequence(decoders: list[Any]) -> ByteRule | None:
    """Understands Replace* ByteFallback? Fuse Strip(" ", 1, 0)? and a lone inner decoder."""
    if len(decoders) == 1:
        return rule_from_decoder(decoders[0])
    steps = list(decoders)
    if not all(isinstance(step, dict) for step in steps):
        return None

    def take(kind: str) -> dict[str, Any] | None:
        return steps.pop(0) if steps and steps[0].get("type") == kind else None

    replace: list[tuple[str, str]] = []
    while (step := take("Replace")) is not None:
        pattern, content = step.get("pattern"), step.get("content")
        old = pattern.get("String") if isinstance(pattern, dict) else None
        if not isinstance(old, str) or not old or not isinstance(content, str):
            return None
        replace.append((old, content))
    fallback = take("ByteFallback") is not None
    if take("Fuse") is None:
        return None
    lead = ""
    if (step := take("Strip")) is not None:
        if (step.get("content"), step.get("start"), step.get("stop")) != (" ", 1, 0):
            return None
        lead = "space"
    if steps:
        return None
    return ByteRule(replace=tuple(replace), byte_fallback=fallback, lead=lead)
