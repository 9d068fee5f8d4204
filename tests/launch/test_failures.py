"""What follows a failure, in whole sweeps: half the micro-batch, a family that waits for its bug, a pause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests_launch import DEFINITION, Study, short, wait_for

pytestmark = pytest.mark.launch

SMALL_GPU = """\
import torch

from core.definition.fields import execution
from core.definition.trial import LossTermConfig
from core.registry import register


class SmallGpuConfig(LossTermConfig):
    fits: int = execution(99, ge=1, unit="pairs", doc="pairs of one forward pass that this GPU can hold")


def small_gpu(batch, config):
    if len(batch.chosen) > config.fits:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return batch.chosen * 0.0


register("loss", "small_gpu", SmallGpuConfig, "small_gpu:small_gpu")
"""
BUG = """\
from core.definition.trial import LossTermConfig
from core.registry import register


class BuggyConfig(LossTermConfig):
    pass


def buggy(batch, config):
    return {"chosen": batch.chosen}["chosn"] * 0.0


register("loss", "buggy", BuggyConfig, "buggy:buggy")
"""


def metrics_of(study: Study, name: str) -> dict[str, Any]:
    (trial,) = study.trials(name)
    file = study.workspace / "trials" / trial["id"][:2] / trial["id"] / "result" / "metrics.json"
    return dict(json.loads(file.read_text()))


def test_a_trial_that_runs_out_of_gpu_memory_goes_on_with_less_and_the_report_says_so(tmp_path: Path) -> None:
    text = DEFINITION.replace("  train:", "  loss: {small_gpu: {weight: 1, fits: 99}}\n  train:").replace(
        "grid:\n  head.layers: [1, 2]\n", ""
    )
    found = {}
    for fits in (99, 2):
        folder = tmp_path / str(fits)
        folder.mkdir()
        study = Study(folder)
        study.write("code: [small_gpu.py]\n" + text.replace("fits: 99", f"fits: {fits}"))
        (folder / "small_gpu.py").write_text(SMALL_GPU, encoding="utf-8")
        study.launch("--workers", "1")
        found[fits] = metrics_of(study, "small")
    (trial,) = study.trials()
    assert trial["attempts"] == 3, "8 pairs, then 4, then 2"
    assert trial["flags"] == ["micro_batch_halved"]
    explained = study.json("explain", trial["id"])
    assert [attempt["cause"] for attempt in explained["attempts"]] == ["cuda_oom", "cuda_oom", None]
    assert [attempt["changed"] for attempt in explained["attempts"]] == [{}, {"micro_batch": 4}, {"micro_batch": 2}]
    assert "ran with execution.micro_batch=2" in study.run("explain", trial["id"])
    cell = next(row for row in study.json("report", "small")["rows"] if row["kind"] == "cell")
    assert cell["flags"] == ["micro_batch_halved"]
    assert "micro_batch_halved" in study.run("report", "small")
    # the same trial, the same effective batch: other sums, the same numbers within rounding
    undisturbed, shrunk = found[99], found[2]
    assert undisturbed["flags"] == []
    for name in ("train/loss", "train/pairs", "train/steps", "validation/loss", "validation/accuracy"):
        assert shrunk["metrics"][name] == pytest.approx(undisturbed["metrics"][name], rel=2e-3), name


def test_a_bug_costs_a_few_trials_and_the_rest_of_the_family_waits(study: Study) -> None:
    text = DEFINITION.replace("  train:", "  loss: {buggy: {weight: 1}}\n  train:").replace(
        "  head.layers: [1, 2]\n", "  head.layers: [1]\n"
    )
    study.write("code: [buggy.py]\nseeds: 6\n" + text.replace("evaluate: [generated_images]\n", ""))
    (study.folder / "buggy.py").write_text(BUG, encoding="utf-8")
    output = study.launch("--workers", "1", code=1)
    states = [trial["state"] for trial in study.trials()]
    assert states.count("failed") in (3, 4) and states.count("held") == 6 - states.count("failed"), states
    assert "identical traceback" in output and "KeyError" in output
    # mended and retried, all of them run; a worker that lingers would take them up with the code that it was launched with
    wait_for(lambda: len(list(study.workspace.glob("jobs/*/left.json"))) == len(list(study.workspace.glob("jobs/*/job.json"))))
    (study.folder / "buggy.py").write_text(BUG.replace("chosn", "chosen"), encoding="utf-8")
    assert "retry: 6 trials" in study.run("retry", "small", "--yes")
    study.launch("--workers", "1")
    assert {trial["state"] for trial in study.trials()} == {"completed"}


def running(study: Study) -> list[str]:
    """Ids of trials of which an attempt has made a step and has not ended."""
    found = []
    for path in study.workspace.glob("trials/*/*/attempts/*/journal.jsonl"):
        text = path.read_text()
        if '"kind":"metrics"' in text and '"kind":"ended"' not in text:
            found.append(path.parents[2].name)
    return found


def test_a_paused_trial_saves_and_waits_and_the_others_go_on(study: Study) -> None:
    study.write(DEFINITION.replace("evaluate: [generated_images]\n", ""))
    words = (*short("rehearsal.steps=120"), "rehearsal.steps=120", "--workers", "1")
    launch = study.start("launch", "small.yaml", "--rehearse", *words)
    (first,) = wait_for(lambda: running(study))
    assert study.json("pause", first)["paused"] == [first]
    output, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, output
    assert "held: 1 trials (paused); sweep resume takes them up again" in output
    states = {trial["id"]: trial["state"] for trial in study.trials()}
    assert states.pop(first) == "held" and list(states.values()) == ["completed"]
    assert "request: pause" in study.run("explain", first)
    again = study.run("launch", "small.yaml", "--rehearse", *words)
    assert "1 stay paused" in again
    assert study.json("resume", "small")["resumed"] == [first]
    study.run("launch", "small.yaml", "--rehearse", *words)
    trials = study.trials()
    assert {trial["state"] for trial in trials} == {"completed"}
    assert max(trial["attempts"] for trial in trials) == 2
