"""What the files of a directory say about each other: found at load, and told as warnings.

A model whose tokenizer, template or special ids were mixed up answers, but badly; the files often
show it. What is found is logged, with the names of files and fields, and never stops a load: there
are good models with such files. What no tokenizer could work with is a LoadError elsewhere.

It cannot be seen from the files alone: ids that were exchanged everywhere alike, weights of another
training, or a template in another model's notation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genfast import chat
from genfast.config import show
from genfast.errors import LoadError
from genfast.tokenizer import Tokenizer

log = logging.getLogger("genfast")

# Letters, digits, runs of spaces, scripts of two to four bytes, and none that NFC or NFKC change.
PROBE = "The year 2024:\n\tint f(x) { return x  +  1; }  // naïve, Ж, 你好, 😀\n\n'I'll' do_it!"
CHAT = [
    {"role": "user", "content": "Is it so?"},
    {"role": "assistant", "content": "It is."},
    {"role": "user", "content": "Why?"},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "description": "The word."}},
            "required": ["word"],
        },
    },
}


def warn(
    directory: Path,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    vocab_size: int,
) -> None:
    """Logs what `findings` finds."""
    for finding in findings(directory, config, generation, tokenizer, vocab_size):
        log.warning("%s", finding)


def findings(
    directory: Path,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    vocab_size: int,
) -> list[str]:
    """Sentences that name files and fields; [] where all agree."""
    sources = {"config.json": config, "generation_config.json": generation}
    found = [*_id_ranges(sources, vocab_size), *_ids_between(sources)]
    if tokenizer is not None:
        found += tokenizer.findings
        found += _named_tokens(sources, tokenizer)
        found += _round_trip(tokenizer)
        if tokenizer.chat_template is not None:
            found += template_findings(tokenizer.chat_template, tokenizer.special_tokens)
        if tokenizer.vocab_size > vocab_size:
            found.append(
                f"the tokenizer has {tokenizer.vocab_size} ids, config.json: vocab_size "
                f"{vocab_size}: the model has nothing for the last"
            )
    return [f"{directory}: {finding}" for finding in found]


def _ids(source: Mapping[str, Any], name: str) -> list[int]:
    value = source.get(name)
    ids = value if isinstance(value, list) else [value]
    return [i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i >= 0]


def _id_ranges(sources: Mapping[str, Mapping], vocab_size: int) -> Iterator[str]:
    for file, source in sources.items():
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            for i in _ids(source, name):
                if i >= vocab_size and name != "pad_token_id":
                    yield f"{file}: {name}: {i} is not below config.json: vocab_size {vocab_size}"


def _ids_between(sources: Mapping[str, Mapping]) -> Iterator[str]:
    for name in ("bos_token_id", "eos_token_id"):
        a, b = (set(_ids(source, name)) for source in sources.values())
        if a and b and not a & b:
            yield (
                f"config.json: {name}: {_shown(a)}, generation_config.json: {name}: {_shown(b)}: "
                "none in common"
            )


def _named_tokens(sources: Mapping[str, Mapping], tokenizer: Tokenizer) -> Iterator[str]:
    """bos and eos: as the tokenizer's files write them, and as ids in the model's."""
    for role in ("bos_token", "eos_token"):
        token = tokenizer.named.get(role)
        if token is None:
            continue
        known = tokenizer.token_to_id(token)
        if known is None:
            yield f"the tokenizer's {role} {show(token)} is not in its vocabulary"
            continue
        said = {i for source in sources.values() for i in _ids(source, f"{role}_id")}
        if said and known not in said:
            yield (
                f"the tokenizer's {role} {show(token)} has the id {known}; config.json and "
                f"generation_config.json: {role}_id: {_shown(said)}"
            )


def _shown(ids: set[int]) -> str:
    return ", ".join(map(str, sorted(ids)))


def _round_trip(tokenizer: Tokenizer) -> Iterator[str]:
    """Exact where tokens are bytes; a sentencepiece vocabulary may normalise spaces."""
    rule = tokenizer.rule
    if rule is None or not (rule.byte_level or rule.byte_fallback):
        return
    back = tokenizer.decode(tokenizer.encode(PROBE))
    exact = back.removeprefix(" ") == PROBE  # a space before the text: add_prefix_space
    if not exact and (rule.byte_level or back.split() != PROBE.split()):
        at = next((i for i, (a, b) in enumerate(zip(back, PROBE, strict=False)) if a != b), 0)
        part = slice(max(0, at - 8), at + 8)
        yield (
            f"the tokenizer does not give back what it was given: {back[part]!r} instead of "
            f"{PROBE[part]!r}"
        )


def template_findings(
    template: str | Mapping[str, str], tokens: Mapping[str, str]
) -> Iterator[str]:
    """tokens: special ones, by role."""
    try:
        text = chat.render(template, CHAT, **tokens)
    except (LoadError, ValueError) as error:
        try:  # some are for chats with tools alone
            text = chat.render(template, CHAT, [TOOL], **tokens)
        except (LoadError, ValueError):
            yield f"the chat template does not render a plain conversation: {error}"
            return
    if CHAT[-1]["content"] not in text:
        yield "the chat template leaves out what the user says"
