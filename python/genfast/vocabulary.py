"""What a vocabulary gives away about itself: accidents that leave a tokenizer able to run.

A vocabulary that was learned by merging pairs numbers its tokens in the order of its merges, and
every token longer than a letter comes from a merge. One that keeps such a rule everywhere but in a
handful of places was changed by hand or by accident; one that does not keep it was made otherwise
and is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby, repeat

import numpy as np

from genfast.token_bytes import byte_level_alphabet

FEW = 4  # exceptions that are accidents: more are another way to make vocabularies
ENOUGH = 128  # merges, tokens: fewer show no rule
SPARE = 1 << 16
BLOCK = 256  # tokens that are compared at once
_UTF8 = [b for b in range(0xF5) if b not in (0xC0, 0xC1)]  # bytes that text has


def bpe_findings(
    vocab: Mapping[str, int],
    merges: Sequence[str | Sequence[str]],
    added: Collection[str],
    *,
    byte_level: bool,
    byte_fallback: bool,
) -> list[str]:
    """What is odd about a byte pair encoding, a sentence each; [] for nothing.

    merges: pairs, or strings with a space between. added: tokens that are matched as a whole.
    """
    tokens = list(vocab)
    ids = np.fromiter(vocab.values(), np.int64, len(tokens))
    if ids.max(initial=0) > 2 * len(tokens) + SPARE:
        return []  # whatever this is; tables by id would be as large
    found = _shared(tokens, ids)
    made = _made(vocab, tokens, ids, merges)
    if len(made) >= ENOUGH:
        found += _out_of_order(made, vocab)
        found += _unreachable(tokens, ids, made, added)
    if byte_level:
        names = {b: c for c, b in byte_level_alphabet().items()}
        found += _bytes(vocab, [names[b] for b in _UTF8], sorted(byte_level_alphabet()))
    if byte_fallback:
        every = [f"<0x{b:02X}>" for b in range(256)]
        found += _bytes(vocab, every, every)
    return found


def _made(
    vocab: Mapping[str, int],
    tokens: Sequence[str],
    ids: np.ndarray,
    merges: Sequence[str | Sequence[str]],
) -> np.ndarray:
    """The id that each merge makes, the first of equals alone; a merge of nothing known is left
    out.

    A vocabulary usually lists its tokens as the merges make them, and to see that a block of both
    is the same takes a tenth of the time of looking each token up.
    """
    place = np.zeros(ids.max(initial=0) + 1, np.int64)
    place[ids] = np.arange(len(ids))
    parts, at = [ids[:0]], 0
    for start in range(0, len(merges), BLOCK):
        block = _joined(merges[start : start + BLOCK])
        if block != tokens[at : at + len(block)]:  # several merges that make a token, perhaps
            block = [token for token, _ in groupby(block)]
            block = block[at > 0 and block[0] == tokens[at - 1] :]
        known = ids[at : at + len(block)]
        if block != tokens[at : at + len(block)]:
            known = np.fromiter(map(vocab.get, block, repeat(-1)), np.int64, len(block))
            known = known[known >= 0]
        if len(known):
            at = int(place[known[-1]]) + 1
        parts.append(known)
    made = np.concatenate(parts)
    places = np.arange(len(made))
    first = np.zeros(made.max(initial=0) + 1, np.int64)
    first[made[::-1]] = places[::-1]  # the last to be written is the first of equals
    return made[first[made] == places]


def _joined(merges: Sequence[str | Sequence[str]]) -> Sequence[str]:
    """The text that each merge makes."""
    if not isinstance(merges[0], str):
        return list(map("".join, merges))
    lines = "\n".join(merges)
    if lines.count(" ") == len(merges) and lines.count("\n") == len(merges) - 1:
        return lines.replace(" ", "").split("\n")
    return [merge.replace(" ", "", 1) for merge in merges]


def _descents(made: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(made[1:] < made[:-1])
    return places if len(places) <= FEW else places[:0]


def _out_of_order(made: np.ndarray, vocab: Mapping[str, int]) -> list[str]:
    places = _descents(made)
    names = {i: token for token, i in vocab.items()} if len(places) else {}
    return [
        f"token {names[made[i]]!r} has the id {made[i]} and {names[made[i + 1]]!r}, which is "
        f"merged after it, {made[i + 1]}; all others are numbered in the order of their merges"
        for i in places
    ]


def _unreachable(
    tokens: Sequence[str], ids: np.ndarray, made: np.ndarray, added: Collection[str]
) -> list[str]:
    is_made = np.zeros(max(int(ids.max()), int(made.max())) + 1, bool)
    is_made[made] = True
    others = [
        tokens[i]
        for i in np.flatnonzero(~is_made[ids])
        if len(tokens[i]) > 1 and tokens[i] not in added and not tokens[i].startswith("<")
    ]
    if not 0 < len(others) <= FEW:
        return []
    shown = ", ".join(map(repr, others))
    return [f"no merge makes {shown}, as one makes every other token"]


def _shared(tokens: Sequence[str], ids: np.ndarray) -> list[str]:
    last = np.zeros(ids.max(initial=0) + 1, np.int64)
    last[ids] = np.arange(len(ids))
    twice = np.flatnonzero(last[ids] != np.arange(len(ids)))
    shown = [f"{tokens[i]!r} ({ids[i]})" for i in twice[:FEW]]
    return [f"the id of {', '.join(shown)} is another token's too"] if shown else []


def _bytes(vocab: Mapping[str, int], needed: Sequence[str], order: Sequence[str]) -> list[str]:
    missing = [token for token in needed if token not in vocab]
    if missing:
        shown = ", ".join(map(repr, missing[:FEW]))
        return [f"{len(missing)} bytes have no token ({shown}): texts with them lose them"]
    present = [token for token in order if token in vocab]
    ids = np.array([vocab[token] for token in present])
    return [
        f"the tokens of bytes {present[i]!r} ({ids[i]}) and {present[i + 1]!r} ({ids[i + 1]}) are "
        "numbered the other way round than all others"
        for i in _descents(ids)
    ]
