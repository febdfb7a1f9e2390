"""Fixtures of models on a GPU's emulation."""

from __future__ import annotations

import pytest

import cuda_part


@pytest.fixture(scope="session")
def emulation(tmp_path_factory):
    return cuda_part.build(tmp_path_factory.mktemp("cuda"))
