"""A search of real trials of the tiny twin, to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests_launch import Study

pytestmark = pytest.mark.launch

SEARCH = """\
version: 1
name: small
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  train: {epochs: 1}
  execution: {threads: 1}
objective: {metric: validation/loss, mode: min}
search:
  sampler: tpe
  n_cells: 4
  replicate: 1
  pruner: {kind: asha, first: 0.2}
  space: {optim.lr: {low: 1e-8, high: 3e-6, log: true}}
seeds: 2
"""


def test_a_search_goes_to_its_end_and_a_second_launch_trains_nothing(study: Study) -> None:
    study.write(SEARCH)
    output = study.launch("--workers", "2")
    assert "search: tpe suggests 4 cells" in output
    assert "4 of 4 cells suggested" in output
    (found,) = study.json("search", "show", "small")["studies"]
    assert found["asked"] == 4
    assert set(found["told"]) <= {"complete", "pruned"}
    assert found["told"]["complete"] >= 1
    trials = study.trials()
    assert {trial["seed"] for trial in trials} == {0, 1}
    assert all(trial["state"] in ("completed", "pruned") for trial in trials)
    attempts = [trial["attempts"] for trial in trials]
    again = study.launch("--workers", "2")
    assert "revision 1 (unchanged)" in again
    assert [trial["attempts"] for trial in study.trials()] == attempts
    assert Path(study.json("show", found["best"][0])["folder"]).is_dir()
