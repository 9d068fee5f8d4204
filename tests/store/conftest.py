"""Markers of the index's tests."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgres: starts a PostgreSQL server of its own; skipped where its binaries are absent")
