from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.examples import PreferenceExample, pair
from core.evaluation.score_table import ScoreMetadata, ScoreTable, from_examples

ABOUT = ScoreMetadata("vl_rewardbench", "r", "hash", "test")


def make_table(rows: list[tuple[str, float | None, float | None]], **extra: Any) -> ScoreTable:
    """A table of (id, score of the chosen response, score of the rejected one)."""
    examples: list[PreferenceExample] = [
        pair(id, f"question {number}", f"good {number}", f"bad {number}", extra=extra) for number, (id, _, _) in enumerate(rows)
    ]
    return from_examples(examples, [[better, worse] for _, better, worse in rows], ABOUT)


@pytest.fixture
def table_of() -> Callable[..., ScoreTable]:
    return make_table


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def jsonl() -> Callable[[Path, list[Any]], Path]:
    return write_jsonl
