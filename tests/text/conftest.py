"""Where the real tokenizers and templates lie."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real material beside the repository."""
    if not DATA.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return DATA
