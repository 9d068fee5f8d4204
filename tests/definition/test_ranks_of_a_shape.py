"""How many processes a trial has, and that they share nodes and the effective batch evenly."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.definition import expand, load
from core.definition.plan import Cell, Shape
from core.definition.trial import RehearsalConfig
from core.errors import DefinitionError, UsageError
from sweeps.running import run_here

TEXT = """\
version: 1
name: several
trial:
  backbone: qwen2.5-vl-7b
  data: {sources: {mine: {type: file}}}
  train: {epochs: 1, batch: 128}
"""


def cell(tmp_path: Path, *overrides: str, rehearsal: RehearsalConfig | None = None) -> Cell:
    file = tmp_path / "several.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return next(iter(expand(load(file, list(overrides), rehearsal=rehearsal)).cells()))


def test_a_trial_has_a_process_per_gpu(tmp_path: Path) -> None:
    found = cell(tmp_path, "resources.gpus=8")
    assert (found.shape.processes, found.shape.ranks, found.score_shape.processes) == (8, None, 1)
    assert cell(tmp_path, "resources.gpus=0").shape.processes == 1
    assert cell(tmp_path, "resources.gpus=0", "execution.ranks=4").shape == Shape(gpus=0, ranks=4)


def test_what_is_written_is_written_by_one_process(tmp_path: Path) -> None:
    found = cell(tmp_path, "task=annotate", "paradigm=critic", "resources.gpus=8", "resources.nodes=2")
    assert (found.shape.processes, found.shape.nodes, found.shape.gpus) == (1, 1, 1)


def test_how_many_processes_there_are_is_no_part_of_what_a_trial_computes(tmp_path: Path) -> None:
    one = cell(tmp_path, "resources.gpus=0")
    assert one.id == cell(tmp_path, "resources.gpus=8", "execution.zero=3", "execution.offload=all").id
    assert one.id == cell(tmp_path, "resources.gpus=0", "execution.ranks=2").id


def test_a_rehearsal_keeps_the_processes_that_are_asked_for_and_no_gpu(tmp_path: Path) -> None:
    rehearsal = RehearsalConfig()
    assert cell(tmp_path, "resources.gpus=8", "resources.nodes=2", rehearsal=rehearsal).shape == Shape()
    found = cell(tmp_path, "resources.gpus=8", "resources.nodes=2", "execution.ranks=4", rehearsal=rehearsal)
    assert (found.shape, found.score_shape) == (Shape(nodes=2, ranks=4), Shape())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("resources.gpus=6",), ("batch of 128 pairs", "6 processes", "did you mean: 4")),
        (("resources.gpus=8", "execution.ranks=4"), ("one process per GPU", "resources.gpus: 8")),
        (("resources.gpus=8", "resources.nodes=3"), ("8 processes", "3 nodes", "multiple of 3")),
        (("resources.gpus=0", "execution.ranks=256"), ("batch of 128 pairs", "256 processes")),
        (("execution.offload=all", "execution.zero=2"), ("offload: all needs zero: 3",)),
        (("execution.offload=optimizer", "execution.zero=0"), ("offload: optimizer needs zero: 1, 2 or 3",)),
        (("execution.zero=4",), ("zero",)),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path: Path, overrides: tuple[str, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(DefinitionError) as refused:
        cell(tmp_path, *overrides)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert refused.value.place is not None


def test_a_debugger_is_refused_for_several_processes(tmp_path: Path) -> None:
    file = tmp_path / "several.yaml"
    file.write_text(TEXT, encoding="utf-8")
    with pytest.raises(UsageError, match="one process"):
        run_here(str(file), ["resources.gpus=0", "execution.ranks=2"], True, tmp_path / "runs", steps=None, pdb=True)
