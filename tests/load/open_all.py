"""Opens each directory named on standard input and says how it went: a JSON line in, two out.

Run as its own process by test_bad_files.py: should one directory kill it, the last line says which.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys

import genfast


def attempt(directory: str) -> tuple[str, str]:
    """("loaded" | "refused" | "wrong", message)."""
    try:
        with genfast.load(directory, dtype="float32", kv_dtype="float32", threads=1) as model:
            logits = model.logits([2, 3, 4])
            out = model.generate([2, 3, 4], max_tokens=4, temperature=0)
            if not all(0 <= t < logits.shape[1] for t in out.token_ids):
                return "wrong", f"token ids {out.token_ids} of a vocabulary of {logits.shape[1]}"
            finite = math.isfinite(float(abs(logits).max()))
            return "loaded", "" if finite else "logits are not finite"
    except genfast.GenfastError as e:
        return "refused", str(e)
    except RuntimeError as e:
        # A flipped bit in a weight can make it infinite, which only shows in what it computes.
        overflow = "no finite number" in str(e)
        return "loaded" if overflow else "wrong", f"{type(e).__name__}: {e}"
    except Exception as e:
        return "wrong", f"{type(e).__name__}: {e}"


def main() -> None:
    if "ASAN_OPTIONS" not in os.environ:  # whose shadow memory is terabytes of addresses
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for line in sys.stdin:
        directory = json.loads(line)
        print(json.dumps(["opening", directory]), flush=True)
        print(json.dumps([*attempt(directory), directory]), flush=True)


if __name__ == "__main__":
    main()
