"""Fixtures of the tests that run whole sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests_launch import Study, points


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="module")
def shared_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = Study(tmp_path_factory.mktemp("study"))
    made.write()
    return made


@pytest.fixture
def mlflow_points() -> Callable[[Study], dict[str, dict[str, list[tuple[int, float]]]]]:
    return points
