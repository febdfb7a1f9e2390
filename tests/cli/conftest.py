"""The model that the command line's tests open."""

from __future__ import annotations

import pytest

import genfast
from stub_model import StubModel


@pytest.fixture
def model(monkeypatch):
    """The model that every command opens; `.opened` tells how."""
    stub = StubModel()
    stub.opened = []

    def load(path=None, **options):
        stub.opened.append((path, options))
        return stub

    monkeypatch.setattr(genfast, "load", load, raising=False)
    return stub
