#!/usr/bin/env python3
"""Writes tests/goldens/beams.json: what transformers' beam search finds with tiny random models.

    python tools/make_beam_goldens.py

Needs torch and transformers (version 5); the test does not.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/models")]

import beam_cases  # noqa: E402


def main() -> None:
    found = []
    for name in beam_cases.MODELS + beam_cases.STATE_MODELS:
        with tempfile.TemporaryDirectory() as directory:
            model = beam_cases.load_transformers(beam_cases.write(name, Path(directory) / "model"))
            for settings in beam_cases.settings_of(name):
                ids = beam_cases.prompt(name, settings)
                best = beam_cases.transformers_beams(model, ids, settings)
                case = {"model": name, "prompt": ids, "settings": settings}
                # Of what max_tokens cut off, transformers does not tell whether it matches.
                assert "words" not in settings or all(t[-1] in beam_cases.ENDS for t in best[0])
                found.append({**case, "tokens": best[0], "scores": best[1]})
    text = ",\n".join(json.dumps(case) for case in found)
    beam_cases.GOLDEN.write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
