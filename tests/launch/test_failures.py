"""What follows a failure, in whole sweeps: a family that waits for its bug, a pause."""

from __future__ import annotations

import pytest
from tests_launch import DEFINITION, Study, short, wait_for

pytestmark = pytest.mark.launch

BUG = """\
from core.definition.trial import LossTermConfig
from core.registry import register


class BuggyConfig(LossTermConfig):
    pass


def buggy(batch, config):
    return {"chosen": batch.chosen}["chosn"] * 0.0


register("loss", "buggy", BuggyConfig, "buggy:buggy")
"""


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
