"""truncate over a vocabulary of 128k, one thread. Floor: the logits read once and written once. The
binding copies the logits first; `copy` in the report is what that alone takes, in the same run."""

import numpy as np
import pytest

from genfast import ops

V = 128256
SETTINGS = {  # keywords, spread of the logits
    "top_n_sigma": ({"top_n_sigma": 1.0}, 3),
    "top_k_50_typical": ({"top_k": 50, "typical_p": 0.9}, 3),
    "top_k_50_xtc": ({"top_k": 50, "xtc_threshold": 0.1}, 3),
    "typical_peaked": ({"typical_p": 0.9}, 6),
    "typical_wide": ({"typical_p": 0.9}, 1),
    "xtc_peaked": ({"xtc_threshold": 0.1}, 6),
    "xtc_wide": ({"xtc_threshold": 0.1}, 1),
    "mirostat": ({"max_bits": 10.0}, 3),
    "mirostat_wide": ({"max_bits": 16.0}, 1),
}


def expected(logits: np.ndarray, settings: dict) -> np.ndarray:
    """Ids that are kept, by numpy, for one filter after an optional top_k."""
    ids = np.argsort(-logits, kind="stable")[: settings.get("top_k")]
    wide = logits[ids].astype(np.float64)
    p = np.exp(wide - wide.max())
    p /= p.sum()
    if "top_n_sigma" in settings:
        return ids[wide >= wide.max() - settings["top_n_sigma"] * wide.std()]
    if "xtc_threshold" in settings:
        likely = int((p >= settings["xtc_threshold"]).sum())
        return ids[max(0, likely - 1) :]
    if "max_bits" in settings:
        return ids[-np.log2(p) <= settings["max_bits"]]
    off = np.abs(-np.log(p) + (p * np.log(p)).sum())
    order = np.argsort(off, kind="stable")
    return ids[order[: int((np.cumsum(p[order]) < settings["typical_p"]).sum()) + 1]]


@pytest.mark.parametrize("name", ["copy", *SETTINGS])
def test_truncate(benchmark, rng, report, name):
    if name == "copy":
        logits = rng.normal(size=V).astype(np.float32)
        assert benchmark(logits.copy).tobytes() == logits.tobytes()
        report(bytes=2 * logits.nbytes, cached=True, threads=1)
        return
    settings, spread = SETTINGS[name]
    logits = (rng.normal(size=V) * spread).astype(np.float32)
    left, kept, _ = benchmark(lambda: ops.truncate(logits, threads=1, **settings))
    ids = expected(logits, settings)
    assert kept == pytest.approx(len(ids), abs=max(1, len(ids) // 10_000))
    assert np.isfinite(left[ids[len(ids) // 2]])
    report(bytes=2 * logits.nbytes, cached=True, threads=1)
