#!/usr/bin/env python3
"""What transformers makes of a prefix and a suffix for Code Llama: tests/text/infill_goldens.json.

Needs transformers 4 (python -m pip install 'transformers<5'; no torch): version 5 puts a space
before the suffix too, which transformers 4 and Meta's own code do not.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import transformers

TESTS = Path(__file__).resolve().parents[1] / "tests/text"
sys.path[:0] = [str(TESTS)]
from tiny_tokenizer import code_llama  # noqa: E402

PAIRS = [
    ("ab", "ba"),
    (" ab", " a"),
    ("a\n", "\n  ab"),
    ("", "a"),
    ("  ", "b  "),
    ("a b", "☺é"),
]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tokenizer.json"
        file.write_text(json.dumps(code_llama()))
        tokenizer = transformers.CodeLlamaTokenizerFast(tokenizer_file=str(file))
        cases = [[*pair, tokenizer(pair[0], suffix=pair[1])["input_ids"]] for pair in PAIRS]
    made_by = f"transformers {transformers.__version__}"
    (TESTS / "infill_goldens.json").write_text(
        json.dumps({"made_by": made_by, "cases": cases}, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
