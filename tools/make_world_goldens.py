#!/usr/bin/env python3
"""What BlinkDL's rwkv package makes of texts with a small vocabulary of World's kind.

    python tools/make_world_goldens.py

Needs rwkv; the tests do not. tests/goldens/world.json: {"vocabulary": the lines of a file like
rwkv_vocab_v20230424.txt, "texts": [...], "ids": [[...] of each text]}.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

GOLDEN = Path(__file__).resolve().parents[1] / "tests/goldens/world.json"
SOURCE = (
    'User: Is it so?\n\nAssistant: It isn\'t.\tThe quick brown fox, "naïve", said \\o/ to 2024\n'
    "lazy dogs:  x  +=  1;  // 你好，世界 😀🎉 Здравствуй мир\r\n\u2028 \u00a0 ===== ----- ''' "
    "\x7f \x00 end"
)


def vocabulary(rng: random.Random) -> list[str]:
    """All single bytes, and runs of the source's: some of them end within a letter."""
    data = SOURCE.encode()
    tokens = {bytes([byte]) for byte in range(256)}
    while len(tokens) < 560:
        at, length = rng.randrange(len(data)), rng.choice((2, 2, 3, 3, 4, 5, 6, 8, 12))
        tokens.add(data[at : at + length])
    lines = []
    for number, token in enumerate(sorted(tokens, key=lambda t: (len(t), t)), 1):
        try:
            literal = repr(token.decode())
        except UnicodeDecodeError:
            literal = repr(token)
        lines.append(f"{number} {literal} {len(token)}")
    return lines


def main() -> None:
    rng = random.Random(11)
    lines = vocabulary(rng)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        peer = TRIE_TOKENIZER(file.name)
    texts = ["", " ", "é", SOURCE, SOURCE[::-1], SOURCE.replace(" ", "")]
    texts += ["".join(rng.choices(SOURCE, k=200)) for _ in range(10)]
    for _ in range(10):
        starts = rng.choices(range(len(SOURCE)), k=20)
        texts.append("".join(SOURCE[at : at + rng.randrange(1, 15)] for at in starts))
    golden = {"vocabulary": lines, "texts": texts, "ids": [peer.encode(text) for text in texts]}
    GOLDEN.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
