"""The main job as a user does it: launch, launch again, edit, add a benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_launch import DEFINITION, SHORT, Study, wait_for

import core

pytestmark = pytest.mark.launch


def test_from_a_file_to_the_table_and_nothing_twice(study: Study, mlflow_points: Callable[[Study], Any]) -> None:
    output = study.launch("--workers", "1")
    assert "REHEARSAL" in output
    assert "2 cells, 2 trials, 2 new" in output
    assert "generated_images" in output
    trials = study.trials()
    assert [t["state"] for t in trials] == ["completed", "completed"]
    assert [t["attempts"] for t in trials] == [1, 1]
    report = study.json("report", "small")
    assert report["rehearsal"] is True
    cells = [row for row in report["rows"] if row["kind"] == "cell"]
    assert [row["cell"] for row in cells] == [{"head.layers": 1}, {"head.layers": 2}]
    assert {row["name"] for row in report["rows"] if row["kind"] == "baseline"} == {"length", "random"}
    assert all(0 <= row["metrics"]["generated_images/accuracy"]["mean"] <= 100 for row in cells)
    assert all(0 <= row["metrics"]["validation/accuracy"]["mean"] <= 1 for row in cells)
    for trial, series in mlflow_points(study).items():
        assert [step for step, _ in series["train/loss"]] == list(range(1, 13)), trial

    # which of the two is better, and how sure is that
    assert all(len(row["metrics"]["generated_images/accuracy"]["ci"]) == 2 for row in cells)
    (compared,) = study.json("compare", "small:layers=1", ":layers=2", "--metric", "generated_images/accuracy")["comparisons"]
    means = [row["metrics"]["generated_images/accuracy"]["mean"] for row in cells]
    assert compared["difference"] == means[0] - means[1]
    assert compared["parts"]["examples"]["n"] == 16
    assert compared["notes"] == ["n = 1: an interval over seeds takes at least 2"]
    assert "A - B" in study.run("compare", "small:layers=1", ":layers=2")

    # the same launch again trains nothing and says why
    again = study.launch("--workers", "1")
    assert "revision 1 (unchanged)" in again
    assert "2 reused" in again
    assert [t["attempts"] for t in study.trials()] == [1, 1]

    # a new value on an axis trains exactly the new cell
    study.write(DEFINITION.replace("[1, 2]", "[1, 2, 3]"))
    wider = study.launch("--workers", "1")
    assert "3 cells, 3 trials, 1 new, 2 reused" in wider
    assert [t["attempts"] for t in study.trials()] == [1, 1, 1]
    assert study.json("list")[0]["revision"] == 2

    # another benchmark trains nothing and scores
    study.write(DEFINITION.replace("[1, 2]", "[1, 2, 3]").replace("[generated_images]", "[generated_images, vl_rewardbench]"))
    more = study.launch("--workers", "1")
    assert "3 reused" in more
    status = study.json("status", "small")
    assert [t["attempts"] for t in status["trials"]] == [1, 1, 1]
    assert status["scorings"] == {"completed": 6}
    cells = [row for row in study.json("report", "small")["rows"] if row["kind"] == "cell"]
    assert all(row["metrics"]["vl_rewardbench/overall"]["mean"] is not None for row in cells)

    # a removed cell is shown and left alone, an older revision can still be looked at
    study.write()
    fewer = study.launch("--workers", "1")
    assert "no longer in the definition" in fewer
    assert "left alone" in fewer
    assert len(study.json("status", "small@2")["trials"]) == 3


def test_a_loss_in_one_file_beside_the_definition_trains(study: Study) -> None:
    (study.folder / "my_losses.py").write_text(
        '''"""A hinge on the margin."""

import torch

from core.definition.fields import identity
from core.definition.trial import LossTermConfig
from core.registry import register


class HingeConfig(LossTermConfig):
    """max(0, margin - (r_chosen - r_rejected))."""

    margin: float = identity(1.0, ge=0, doc="the margin that is asked for")


def hinge(batch, config):
    return torch.relu(config.margin - (batch.chosen - batch.rejected))


register("loss", "hinge", HingeConfig, "my_losses:hinge")
'''
    )
    text = DEFINITION.replace("trial:\n", "code: [my_losses.py]\ntrial:\n  loss: {hinge: {margin: 0.5}, bradley_terry: {weight: 0}}\n")
    study.write(text.replace("head.layers: [1, 2]", "loss.hinge.margin: [0.5]"))
    study.launch("--workers", "1")
    (trial,) = study.trials()
    assert trial["state"] == "completed"
    shown = study.json("show", trial["id"][:8])
    assert set(shown["config"]["loss"]) == {"hinge"}
    # hinge at 0.5 starts near 0.5; Bradley-Terry would start near 0.69
    journal = next(study.workspace.glob(f"trials/*/{trial['id']}/attempts/0001/journal.jsonl")).read_text()
    assert '"loss":0.4' in journal or '"loss":0.5' in journal


def test_a_bug_fails_its_trial_with_a_cause_and_a_retry_mends_it(study: Study) -> None:
    loss = study.folder / "my_losses.py"
    source = """from core.definition.trial import LossTermConfig
from core.registry import register


class C(LossTermConfig):
    pass


def broken(batch, config):
    return {body}


register("loss", "mine", C, "my_losses:broken")
"""
    loss.write_text(source.format(body="batch.chosen[no_such_name]"))
    text = DEFINITION.replace("trial:\n", "code: [my_losses.py]\ntrial:\n  loss: {mine: {}, bradley_terry: {weight: 0}}\n")
    study.write(text.replace("head.layers: [1, 2]", "head.layers: [1]"))
    output = study.launch("--workers", "1", code=1)
    (trial,) = study.trials()
    assert (trial["state"], trial["cause"], trial["attempts"]) == ("failed", "user_bug", 1)
    assert f"sweep explain {trial['id'][:10]}" in output
    explained = study.run("explain", trial["id"][:10])
    assert "NameError: name 'no_such_name' is not defined (my_losses.py:10)" in explained
    assert "Traceback" in study.run("logs", trial["id"][:10])
    rows = study.json("report", "small")["rows"]
    assert any("failed (user_bug)" in str(row) for row in rows if row["kind"] == "cell")
    # mended code is a new revision; the retry takes the trial up again (so would a worker that lingers, with the code that it knows)
    wait_for(lambda: list(study.workspace.glob("jobs/*/left.json")))
    loss.write_text(source.format(body="(batch.rejected - batch.chosen).exp()"))
    study.run("retry", "small", "--cause", "user_bug")
    study.launch("--workers", "1")
    (trial,) = study.trials()
    assert (trial["state"], trial["attempts"]) == ("completed", 2)


def test_results_of_other_code_are_kept_and_marked_or_trained_again(study: Study) -> None:
    loss = study.folder / "my_losses.py"
    source = """from core.definition.trial import LossTermConfig
from core.registry import register


class C(LossTermConfig):
    pass


def squared(batch, config):
    # {comment}
    return {body}


register("loss", "mine", C, "my_losses:squared")
"""
    body = "(1 - batch.chosen + batch.rejected) ** 2"
    loss.write_text(source.format(body=body, comment="first"))
    text = DEFINITION.replace("trial:\n", "code: [my_losses.py]\ntrial:\n  loss: {mine: {}, bradley_terry: {weight: 0}}\n")
    study.write(text.replace("head.layers: [1, 2]", "head.layers: [1]"))
    study.launch("--workers", "1")
    first = study.final()

    loss.write_text(source.format(body=body, comment="a comment is no other code"))
    assert study.json("plan", "small.yaml", *SHORT, "--rehearse")["counts"]["reused"] == 1
    loss.write_text(source.format(body=f"2 * {body}", comment="other code"))
    assert study.json("plan", "small.yaml", *SHORT, "--rehearse")["counts"]["stale"] == 1
    assert "--stale rerun" in study.launch("--workers", "1", "--stale", "fail", code=2)
    assert "1 stale: their results are of other code; kept and marked" in study.launch("--workers", "1")
    (trial,) = study.trials()
    assert (trial["flags"], trial["attempts"]) == (["stale"], 1)
    assert study.final() == first
    study.launch("--workers", "1", "--stale", "rerun")
    (trial,) = study.trials()
    assert (trial["flags"], trial["attempts"], trial["state"]) == ([], 2, "completed")
    assert study.final() != first
    assert study.json("status", "small")["scorings"] == {"completed": 1}


def test_one_cell_here_and_now(study: Study) -> None:
    output = study.run("run", "small.yaml", *SHORT, "--rehearse", code=2)
    assert "`sweep run` trains one cell; 2 are left" in output
    assert "head.layers=1" in output
    scratch = study.run("run", "small.yaml", *SHORT, "--rehearse", "head.layers=2", "--steps", "2")
    assert "step     2  train" in scratch
    assert not study.workspace.exists()
    output = study.run("run", "small.yaml", *SHORT, "--rehearse", "head.layers=2")
    assert "completed" in output
    assert "generated_images" in output
    # a launch reuses what was run by hand
    plan = study.json("plan", "small.yaml", *SHORT, "--rehearse")
    assert (plan["counts"]["new"], plan["counts"]["reused"]) == (1, 1)


def test_a_users_own_core_folder_does_no_harm(study: Study) -> None:
    (study.folder / "core").mkdir()
    (study.folder / "core" / "__init__.py").write_text("raise RuntimeError('the wrong core')\n")
    study.launch("--workers", "1", "head.layers=1")
    assert [t["state"] for t in study.trials()] == ["completed"]


def test_a_foreign_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "__init__.py").write_text("")
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "sweep"), "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert str(tmp_path / "sweeps") in ended.stderr


def test_a_foreign_package_installed_over_ours_is_refused(tmp_path: Path) -> None:
    root = Path(core.__file__).parent.parent
    for package in ("core", "slurm", "dashboards", "sweeps"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [str(Path(sys.executable).parent / "sweep"), "--help"]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    (tmp_path / "sweeps" / "__init__.py").write_text("")
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "sweeps" in ended.stderr
