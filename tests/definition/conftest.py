"""A small complete definition to build on, and a way to write, load and expand one in a line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from core.definition import Expansion, SweepDefinition, expand, load

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"
BASE = "version: 1\nname: study\ntrial: {backbone: qwen2.5-vl-7b, data: {sources: {pairs: {}}}, train: {epochs: 1}}\n"

Load = Callable[..., SweepDefinition]
Expand = Callable[..., Expansion]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a definition from text: the small base above, with the text given after it (or instead of it)."""

    def run(text: str = "", *overrides: str, whole: bool = False, name: str = "study.yaml", rehearsal: bool = False) -> SweepDefinition:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text) if whole else BASE + textwrap.dedent(text))
        return load(path, overrides, search=[SHIPPED], rehearsal=rehearsal)

    return run


@pytest.fixture
def expand_text(load_text: Load) -> Expand:
    def run(text: str = "", *overrides: str, whole: bool = False, rehearsal: bool = False) -> Expansion:
        return expand(load_text(text, *overrides, whole=whole, rehearsal=rehearsal))

    return run


@pytest.fixture
def cells_of(expand_text: Expand) -> Callable[..., list[dict[str, object]]]:
    def run(text: str = "", *overrides: str, whole: bool = False) -> list[dict[str, object]]:
        return [dict(cell.cell) for cell in expand_text(text, *overrides, whole=whole).cells()]

    return run


def ids(expansion: Expansion) -> Sequence[str]:
    return [trial.id for trial in expansion.trials()]
