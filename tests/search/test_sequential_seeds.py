"""Sequential seeds from a launch to its end, by the real ticks: who gets a seed, when, once, and what a later launch goes on with."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from farm import Farm, register

from core.control.decide import Finish
from core.control.tick import SweepReader, tick
from core.errors import DefinitionError
from core.workspace.requests import drop
from sweeps import planning
from sweeps.cli.main import app
from sweeps.reporting import gather
from sweeps.searching import stop_asking

GRID = "grid: {head.layers: [1, 2]}\n"
NARROW = GRID + "seeds: {start: 3, max: 6, until: {halfwidth: 0.02}}\n"
DECIDED = GRID + "seeds: {start: 3, max: 6, until: {decided: best}}\n"


def curve(config: Mapping[str, Any]) -> list[dict[str, float]]:
    """Two layers are steady, one layer is not."""
    layers, seed = config["head"]["layers"], config["seed"]
    noise = random.Random(f"{layers} {seed}").uniform(-1, 1)
    return [{"accuracy": 0.8 + (0.002 if layers == 2 else 0.1) * noise, "loss": 0.5}] * 2


def close(config: Mapping[str, Any]) -> list[dict[str, float]]:
    """Two layers are a little better, at first not told apart."""
    layers, seed = config["head"]["layers"], config["seed"]
    noise = random.Random(f"{layers} {seed}").uniform(-1, 1)
    return [{"accuracy": 0.8 + 0.02 * (layers == 2) + 0.012 * noise, "loss": 0.5}] * 2


def seeds(farm: Farm) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for trial in farm.reader.state().trials:
        found.setdefault(trial.planned.cell["head.layers"], []).append(trial.planned.seed)
    return found


def words(farm: Farm) -> list[str]:
    state = farm.reader.state().seeds
    assert state is not None
    return [standing.word for standing in state.standings]


def test_only_the_cell_whose_interval_is_too_wide_gets_seeds(workspace: Path) -> None:
    farm = Farm(register(workspace, NARROW), curve).run()
    assert seeds(farm) == {1: [0, 1, 2, 3, 4, 5], 2: [0, 1, 2]}
    assert words(farm) == ["max", "reached"]
    assert farm.reader.state().counts() == {"completed": 9}
    assert not farm.reader.growing, "no worker lingers for seeds that do not come"


def test_a_cell_goes_on_while_another_one_still_trains(workspace: Path) -> None:
    farm = Farm(register(workspace, NARROW), curve, workers=6)
    farm.work()
    for _ in range(3):
        farm.work(standing=5)  # the last seed of two layers has a worker that stands still
        farm.tick()
    assert seeds(farm) == {1: [0, 1, 2, 3], 2: [0, 1, 2]}
    assert words(farm) == ["open", "open"]


def test_until_the_best_is_decided_the_close_cells_get_seeds(workspace: Path) -> None:
    farm = Farm(register(workspace, DECIDED), close).run()
    assert words(farm) == ["reached", "reached"]
    found = seeds(farm)
    assert found[1] == found[2] and 3 < len(found[1]) <= 6
    report = gather(farm.place, farm.revision)
    assert [row.metrics["validation/accuracy"].beyond_chance for row in report.rows if row.kind == "cell"] == [False, True]


def test_two_passes_at_once_add_once(workspace: Path) -> None:
    revision = register(workspace, NARROW)
    farm = Farm(revision, curve)
    other = SweepReader(farm.place, revision)
    before = 0
    for _ in range(60):
        both = farm.tick(), tick(other, farm.submitter)
        growth = farm.reader.growth
        assert len(growth.records) - before <= 1, "one record for both"
        before = len(growth.records)
        if all(any(isinstance(action, Finish) for action in result.actions) for result in both):
            break
        farm.work()
    assert seeds(farm) == {1: [0, 1, 2, 3, 4, 5], 2: [0, 1, 2]}
    assert [len(record.trials) for record in farm.reader.growth.records] == [1, 1, 1, 0]


def test_a_pass_on_what_another_has_read_before_it_wrote_adds_nothing(workspace: Path) -> None:
    farm = Farm(register(workspace, NARROW), curve)
    while not farm.reader.growth.records:
        stale = SweepReader(farm.place, farm.revision)
        farm.work()
        farm.tick()
    record = farm.reader.growth.records[0]
    assert stale.growth.records == []
    assert not stale.growth.append(record.kind, why=record.why, trials=record.trials), "somebody has been faster"
    assert stale.growth.append("go", why="") is False


def test_an_added_seed_is_the_ordinary_trial_and_a_wider_launch_goes_on(workspace: Path) -> None:
    farm = Farm(register(workspace, NARROW), curve).run()
    done = {trial.planned.id for trial in farm.reader.state().trials}
    ordinary = register(workspace, GRID + "seeds: 6\n", name="fixed")
    assert done < {trial.id for trial in ordinary.plan()}

    again = Farm(register(workspace, NARROW), curve)
    assert again.revision.number == 1
    assert any(isinstance(action, Finish) and action.complete for action in again.tick().actions)
    assert {trial.planned.id for trial in again.reader.state().trials} == done

    more = Farm(register(workspace, NARROW.replace("max: 6", "max: 8")), curve)
    assert (more.revision.number, len(list(more.revision.plan()))) == (2, 9)
    more.run()
    assert len(seeds(more)[1]) == 8
    narrower = Farm(register(workspace, NARROW.replace("max: 6", "max: 8").replace("0.02", "0.0001")), curve).run()
    assert seeds(narrower) == {1: list(range(8)), 2: list(range(8))}


def test_a_failed_seed_is_not_waited_for_and_a_cancelled_sweep_adds_none(workspace: Path) -> None:
    farm = Farm(register(workspace, NARROW), curve)
    farm.tick()
    farm.work()
    assert farm.busy[0] is not None
    farm.busy[0].end("failed", cause="user_bug", message="boom")
    farm.busy[0] = None
    while not farm.reader.growth.records:
        farm.work()
        farm.tick()
    stop_asking(farm.revision)
    for trial in farm.reader.state().trials:
        if trial.train.state != "completed":
            drop(farm.place.trial(trial.planned.id), "cancel")
    for _ in range(4):
        farm.work()
        result = farm.tick()
    assert any(isinstance(action, Finish) for action in result.actions)
    assert sum(len(record.trials) for record in farm.reader.growth.records) == 1
    assert not farm.reader.growing
    again = Farm(register(workspace, NARROW), curve).run()
    assert len(seeds(again)[1]) == 6, "launched again, it goes on"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert app(list(words), standalone_mode=False) in (0, None)
    return json.loads(capsys.readouterr().out)


def test_plan_status_explain_and_report_tell_the_rule(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, place = str(workspace.parent / "tuned.yaml"), ["--workspace", str(workspace)]
    farm = Farm(register(workspace, NARROW), curve).run()
    plan = told(capsys, "plan", file, "--rehearse", "--json", *place)
    assert plan["seeds"]["trials_at_most"] == 12 and plan["seeds"]["added"] == 3
    assert (plan["counts"]["cells"], plan["counts"]["trials"]) == (2, 9)
    state = told(capsys, "status", "tuned", "--json", *place)["seeds"]
    assert [cell["word"] for cell in state["cells"]] == ["max", "reached"] and state["halted"] is False
    added = farm.reader.growth.records[0].trials[0].id
    why = told(capsys, "explain", added, "--json", *place)["added"]
    assert why.startswith("validation/accuracy over 3 seeds is known to ± ") and "± 0.02 is asked for (look 1 of 4)" in why
    assert told(capsys, "report", "tuned", "--json", *place)["seeds"]["cells"] == state["cells"]
    for words in (["plan", file, "--rehearse"], ["status", "tuned"], ["report", "tuned"], ["explain", added]):
        assert app([*words, *place], standalone_mode=False) in (0, None)
        assert "0.02" in capsys.readouterr().out, words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {space: {optim.lr: [1e-5, 1e-6]}, n_cells: 2}\nseeds: {max: 5, until: {decided: best}}\n", "a search decides by itself"),
        ("needs: {rm: {model: org/x}}\nseeds: {max: 5, until: {decided: best}}\n", "a further seed cannot bring"),
        ("seeds: {max: 5, until: {decided: best, metric: validation/acuracy}}\n", "a metric that no trial reports"),
        (
            "seeds: {max: 5, until: {halfwidth: 1}}\nobjective: {metric: vl_rewardbench/overal}\nevaluate: [vl_rewardbench]\n",
            "no trial rep",
        ),
    ],
    ids=["search", "needs", "metric", "objective"],
)
def test_what_cannot_be_is_refused_before_anything_is_written(text: str, message: str, workspace: Path) -> None:
    with pytest.raises(DefinitionError, match=message):
        register(workspace, text)
    assert not workspace.exists()


def test_the_plan_of_an_edited_definition_keeps_the_seeds_that_belong_to_it(workspace: Path) -> None:
    Farm(register(workspace, NARROW), curve).run()
    file = workspace.parent / "tuned.yaml"
    wider = planning.make(planning.read(str(file), ["seeds.max=8"], True), planning.workspace_if_any(workspace))
    assert len(wider.gained) == 3
    other = planning.make(planning.read(str(file), ["optim.lr=1e-4"], True), planning.workspace_if_any(workspace))
    assert len(other.gained) == 0
