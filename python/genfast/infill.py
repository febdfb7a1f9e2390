"""Filling in the middle: prompts for models that were trained to write what stands between two
texts. Bavarian et al., 2022 (arXiv 2207.14255).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genfast.prompts import PromptReader
    from genfast.results import Generation
    from genfast.tokenizer import Tokenizer


@dataclass(frozen=True)
class Notation:
    """The tokens before prefix, suffix and middle; ends: what else ends the middle."""

    prefix: str
    suffix: str
    middle: str
    ends: tuple[str, ...] = ()
    space: bool = False  # before the prefix, which sentencepiece puts before every text

    @property
    def tokens(self) -> tuple[str, str, str]:
        return self.prefix, self.suffix, self.middle


NOTATIONS = (
    # Code Llama: Rozière et al., 2023 (arXiv 2308.12950)
    Notation("▁<PRE>", "▁<SUF>", "▁<MID>", ("▁<EOT>",), space=True),
    # StarCoder 1 and 2
    Notation("<fim_prefix>", "<fim_suffix>", "<fim_middle>", ("<file_sep>", "<|endoftext|>")),
    # SantaCoder
    Notation("<fim-prefix>", "<fim-suffix>", "<fim-middle>", ("<|endoftext|>",)),
    # Qwen 2.5 Coder, CodeGemma
    Notation(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        ("<|file_separator|>", "<|file_sep|>", "<|repo_name|>", "<|fim_pad|>", "<|endoftext|>"),
    ),
    # DeepSeek Coder, whose suffix stands behind a hole
    Notation("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)

_MARK = "☺"  # no tokenizer merges it with what follows


class Infills:
    """`Model.infill`."""

    _prompts: PromptReader

    def infill(self, prefix: str, suffix: str, **options: Any) -> Generation:
        """What the model writes between two texts: `text` is the middle alone.

        options: those of `generate`. The notation is the one whose tokens the tokenizer has: that
        of Code Llama, StarCoder, SantaCoder, Qwen 2.5 Coder and CodeGemma, or DeepSeek Coder.
        ValueError when it has none of them.
        """
        for name, text in (("prefix", prefix), ("suffix", suffix)):
            if not isinstance(text, str):
                raise ValueError(f"{name} is {type(text).__name__}; allowed: str")
        tokenizer = self._prompts.need_tokenizer("infill")
        ids, ends = infill_prompt(tokenizer, prefix, suffix)
        stop = options.pop("stop_token_ids", None)
        more = [*stop, *ends] if isinstance(stop, list | tuple) else stop
        return self.generate(ids, stop_token_ids=ends if stop is None else more, **options)


def infill_prompt(tokenizer: Tokenizer, prefix: str, suffix: str) -> tuple[list[int], list[int]]:
    """The ids of prefix and suffix in the tokenizer's notation, and those that end the middle."""
    notation = notation_of(tokenizer)
    before, hole, middle = (tokenizer.token_to_id(token) for token in notation.tokens)
    begin = tokenizer.special_ids - set(tokenizer.eos_ids)
    ids = [
        *(i for i in tokenizer.encode("")[:1] if i in begin),
        before,
        *_inside(tokenizer, " " * notation.space + prefix),
        hole,
        *_inside(tokenizer, suffix),
        middle,
    ]
    ends = (tokenizer.token_to_id(token) for token in notation.ends)
    return ids, [i for i in ends if i is not None]


def notation_of(tokenizer: Tokenizer) -> Notation:
    """The first whose tokens the vocabulary has; ValueError when there is none."""
    for notation in NOTATIONS:
        if all(tokenizer.token_to_id(token) is not None for token in notation.tokens):
            return notation
    known = "; ".join(", ".join(notation.tokens) for notation in NOTATIONS)
    raise ValueError(
        f"infill needs a tokenizer with tokens for prefix, suffix and middle; this one has none of "
        f"{known}"
    )


def _inside(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text that does not stand at the beginning, where sentencepiece adds a space."""
    plain = tokenizer.encode(text, add_special_tokens=False)
    first = tokenizer.encode("a", add_special_tokens=False)[:1]
    if not first or not (tokenizer.id_to_token(first[0]) or "").startswith("▁"):
        return plain
    mark = tokenizer.encode(_MARK, add_special_tokens=False)
    marked = tokenizer.encode(_MARK + text, add_special_tokens=False)
    return marked[len(mark) :] if marked[: len(mark)] == mark else plain
