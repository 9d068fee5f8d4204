"""A search from its launch to its end, by the real ticks: what is asked for, when, and what a crash or a second pass changes."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from farm import Farm, register, told

from core.control.decide import Finish
from core.control.search.study import SearchState
from core.control.tick import SweepReader, tick
from core.errors import DefinitionError
from core.workspace.layout import Workspace
from core.workspace.requests import drop
from sweeps.search_words import lines
from sweeps.searching import go_on, stop_asking

SPACE = "{optim.lr: {low: 1e-8, high: 1e-4, log: true}, head.activation: [none, tanh, silu]}"


def quality(config: Mapping[str, Any]) -> float:
    """Best at a learning rate of 1e-6 with SiLU."""
    bonus = {"silu": 0.1, "tanh": 0.05, "none": 0.0}[config["head"]["activation"]]
    return 0.85 - 0.1 * abs(math.log10(config["optim"]["lr"]) + 6) + bonus + 0.001 * config["seed"]


def curve(config: Mapping[str, Any]) -> list[dict[str, float]]:
    return [{"accuracy": 0.5 + (quality(config) - 0.5) * (n + 1) / 10, "loss": 1.0 - quality(config)} for n in range(10)]


def search(text: str, *, space: str = SPACE, rest: str = "") -> str:
    return f"search: {{n_cells: 8, space: {space}, {text}}}\n{rest}"


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random", "gp", "nsga2"])
def test_every_sampler_suggests_its_cells_each_once_and_the_end_is_reached(sampler: str, workspace: Path) -> None:
    cells = 14 if sampler != "gp" else 12
    farm = Farm(register(workspace, search(f"sampler: {sampler}").replace("n_cells: 8", f"n_cells: {cells}")), curve, workers=3).run()
    (study,) = farm.search.studies
    assert told(farm) == {"complete": cells}
    assert len({item.planned.id for item in study.suggestions}) == cells
    assert all(1e-8 <= float(item.chosen["optim.lr"]) <= 1e-4 for item in study.suggestions)
    assert {trial.train.state for trial in farm.reader.state().trials} == {"completed"}
    best = farm.search.best(study)[0]
    assert best.values == (pytest.approx(max(quality(item.planned.config) for item in study.suggestions)),)


def test_as_many_trials_are_open_as_there_are_workers_and_none_waits_for_the_slowest(workspace: Path) -> None:
    farm = Farm(register(workspace, search("sampler: random")), curve, workers=3)
    farm.tick()
    assert told(farm) == {"open": 3}
    farm.work()
    while told(farm).get("complete", 0) < 7:  # the first one stands still while the others go on
        farm.tick()
        assert sum(told(farm).values()) == min(8, 3 + told(farm).get("complete", 0)), "a suggestion for each that has finished"
        farm.work(standing=0)
    assert not any(isinstance(action, Finish) for action in farm.tick().actions)
    assert farm.reader.state().counts() == {"running": 1, "completed": 7}


def test_a_suggestion_follows_from_the_files_alone(workspace: Path, tmp_path: Path) -> None:
    """Two workspaces with the same history are asked the same next cell, by processes that remember nothing."""
    text = search("sampler: tpe")
    names = []
    for root in (workspace, tmp_path / "other" / "runs"):
        root.parent.mkdir(exist_ok=True)
        farm = Farm(register(root, text), curve, workers=2).run()
        names.append([item.planned.id for item in farm.search.studies[0].suggestions])
    assert names[0] == names[1]


def test_two_passes_at_once_ask_once(workspace: Path) -> None:
    revision = register(workspace, search("sampler: tpe"))
    one, other = Farm(revision, curve, workers=2), Farm(revision, curve, workers=2)
    state = one.reader.state()
    assert other.reader.state().counts() == state.counts() == {}
    one.tick()
    # the other pass has read before the first one wrote
    stale = SweepReader(one.place, revision)
    stale.growth.records, stale.growth._last = [], 0
    from core.control.search.carry import carry_out
    from core.control.search.steps import Ask

    assert stale.search is not None
    empty = SearchState(one.search.config, one.search.objectives, one.search.seeds, [one.search.studies[0].__class__("base")])
    assert not carry_out(stale.search, empty, Ask("base", 2))
    other.tick()
    assert [item.number for item in one.search.studies[0].suggestions] == [1, 2]


def _killed_pass(revision: Any, moment: int) -> None:
    """A tick whose process is killed just before its n-th write."""
    from core.workspace import files, growth

    writes = 0
    real = files.create_exclusive

    def write(path: Path, text: str) -> bool:
        nonlocal writes
        writes += 1
        if writes == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, text)

    growth.create_exclusive = write  # type: ignore[attr-defined]
    tick(SweepReader(Workspace.open(revision.sweep.folder.parent.parent), revision), Farm(revision, curve, workers=3).submitter)


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_pass_that_is_killed_has_asked_or_asks_the_same_again(moment: int, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    calm = Farm(register(tmp_path / "calm" / "runs", search("sampler: tpe")), curve, workers=3)
    calm.tick()
    revision = register(workspace, search("sampler: tpe"))
    pid = os.fork()
    if not pid:
        try:
            _killed_pass(revision, moment)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    farm = Farm(revision, curve, workers=3)
    assert len(farm.search.studies[0].suggestions) == moment - 1
    farm.tick()
    assert [i.planned.id for i in farm.search.studies[0].suggestions] == [i.planned.id for i in calm.search.studies[0].suggestions]


def test_a_preempted_trial_has_not_failed_and_a_failed_one_is_told_so(workspace: Path) -> None:
    farm = Farm(register(workspace, search("sampler: random")), curve, workers=2)
    farm.tick()
    farm.work()
    preempted, failed = farm.busy
    assert preempted is not None and failed is not None
    preempted.end("preempted", ask="preempted")
    failed.end("failed", cause="user_bug", message="boom")
    farm.busy = [None, None]
    assert told(farm) == {"open": 1, "failed": 1}
    farm.run()
    assert told(farm) == {"complete": 7, "failed": 1}
    drop(failed.trial, "retry")
    assert told(farm) == {"complete": 7, "open": 1}
    farm.run()
    assert told(farm) == {"complete": 8}


def test_a_stopped_trial_is_pruned_with_its_reason_and_stays_so_when_launched_again(workspace: Path) -> None:
    text = search("sampler: random, pruner: asha")
    farm = Farm(register(workspace, text), curve).run()
    states = farm.reader.state()
    pruned = [trial for trial in states.trials if trial.train.state == "pruned"]
    assert pruned
    assert told(farm) == {"complete": 8 - len(pruned), "pruned": len(pruned)}
    assert all("of training its validation/accuracy" in trial.train.reason for trial in pruned)
    assert all(len(list(farm.place.trial(trial.planned.id).requests.iterdir())) == 1 for trial in pruned), "each is asked once"
    again = Farm(register(workspace, text), curve)
    assert again.revision.number == 1
    assert any(isinstance(action, Finish) and action.complete for action in again.tick().actions)
    assert again.reader.state().counts() == states.counts()


def test_a_trial_that_another_sweep_wants_is_not_stopped(workspace: Path) -> None:
    choices = "{optim.lr: [1e-8, 1e-7, 1e-6, 1e-5]}"
    grid = register(workspace, "grid: {optim.lr: [1e-8]}\n", name="grid")
    farm = Farm(
        register(workspace, search("sampler: random, pruner: asha", space=choices).replace("n_cells: 8", "n_cells: 4")), curve
    ).run()
    shared = next(grid.plan()).id
    states = {trial.planned.id: trial.train.state for trial in farm.reader.state().trials}
    assert shared in states and states[shared] == "completed"
    assert "pruned" in states.values()


def test_more_cells_go_on_with_the_same_search_and_another_space_begins_one(workspace: Path) -> None:
    first = Farm(register(workspace, search("sampler: tpe")), curve).run()
    asked = [item.planned.id for item in first.search.studies[0].suggestions]
    more = Farm(register(workspace, search("sampler: tpe, pruner: median"), "search.n_cells=11"), curve)
    assert more.revision.number == 2
    more.run()
    assert [item.planned.id for item in more.search.studies[0].suggestions][:8] == asked
    assert len(more.search.studies[0].suggestions) == 11
    other = Farm(register(workspace, search("sampler: tpe", space="{optim.lr: {low: 1e-7, high: 1e-5, log: true}}")), curve)
    assert other.search.studies[0].suggestions == []


def test_a_warm_start_tells_what_lies_in_the_space_and_trains_nothing_again(workspace: Path) -> None:
    source = Farm(register(workspace, "grid: {optim.lr: [1e-6, 1e-5, 1e-2]}\n", name="earlier"), curve)
    source.run()
    warm = search("sampler: random, warm_start: [earlier]", space="{optim.lr: {low: 1e-8, high: 1e-4, log: true}}")
    farm = Farm(register(workspace, warm), curve)
    (study,) = farm.search.studies
    assert sorted(float(chosen["optim.lr"]) for chosen, _ in study.warm) == [1e-6, 1e-5]
    assert "after 2 trials of earlier sweeps" in lines(farm.search)[0]
    shared = Farm(register(workspace, search("sampler: random", space="{optim.lr: [1e-6, 1e-5]}")), curve).run()
    assert told(shared) == {"complete": 2}
    assert shared.steps == 0, "both cells had a result"
    with pytest.raises(DefinitionError, match="not in this workspace") as caught:
        register(workspace, search("warm_start: [earlyer]"), name="wrong")
    assert caught.value.place is not None and str(caught.value.place).endswith("wrong.yaml:4")


def test_a_space_that_is_used_up_ends_the_search_and_says_so(workspace: Path) -> None:
    farm = Farm(register(workspace, search("sampler: tpe", space="{head.activation: [none, silu]}")), curve).run()
    assert told(farm) == {"complete": 2}
    assert "no cell is left" in lines(farm.search)[0]
    assert not farm.reader.growing


def test_excluded_cells_are_not_suggested(workspace: Path) -> None:
    text = search("sampler: tpe", space="{head.activation: [none, tanh, silu]}", rest="exclude: [{head.activation: tanh}]\n")
    farm = Farm(register(workspace, text), curve).run()
    assert {item.chosen["head.activation"] for item in farm.search.studies[0].suggestions} == {"none", "silu"}


def test_each_cell_of_a_grid_is_searched_on_its_own(workspace: Path) -> None:
    text = search("sampler: tpe", space="{optim.lr: {low: 1e-8, high: 1e-4, log: true}}", rest="grid: {head.activation: [none, silu]}\n")
    farm = Farm(register(workspace, text), curve, workers=3).run()
    assert [(study.name, len(study.suggestions)) for study in farm.search.studies] == [
        ("head.activation=none", 8),
        ("head.activation=silu", 8),
    ]
    for study in farm.search.studies:
        assert {item.planned.config["head"]["activation"] for item in study.suggestions} == {study.name.partition("=")[2]}


def test_the_best_cells_get_the_other_seeds_and_no_other(workspace: Path) -> None:
    farm = Farm(register(workspace, search("sampler: random, replicate: 2", rest="seeds: 3\n")), curve, workers=3).run()
    (study,) = farm.search.studies
    best = {json.dumps(item.planned.cell) for item in farm.search.best(study)[:2]}
    seeds: dict[str, set[int]] = {}
    for trial in farm.reader.state().trials:
        seeds.setdefault(json.dumps(trial.planned.cell), set()).add(trial.planned.seed)
    assert {cell for cell, found in seeds.items() if found == {0, 1, 2}} >= best
    assert sum(1 for found in seeds.values() if found == {0}) >= 4
    assert len({trial.planned.id for trial in farm.reader.state().trials}) == len(farm.reader.plan)


def test_a_conditional_parameter_is_chosen_only_where_its_condition_holds(workspace: Path) -> None:
    space = "{head.activation: [none, silu], loss.zero_coefficient.weight: {low: 1e-4, high: 1, log: true, when: {head.activation: silu}}}"
    farm = Farm(register(workspace, search("sampler: tpe", space=space)), curve).run()
    for item in farm.search.studies[0].suggestions:
        assert ("loss.zero_coefficient.weight" in item.chosen) == (item.chosen["head.activation"] == "silu")
        assert ("zero_coefficient" in item.planned.config["loss"]) == (item.chosen["head.activation"] == "silu")
    assert told(farm) == {"complete": 8}


def test_two_objectives_give_a_front(workspace: Path) -> None:
    def trade(config: Mapping[str, Any]) -> list[dict[str, float]]:
        place = (math.log10(config["optim"]["lr"]) + 8) / 4
        return [{"accuracy": place, "margin": 1 - place if config["head"]["activation"] == "silu" else -1.0}]

    both = "objectives: [{metric: validation/accuracy}, {metric: validation/margin}]"
    farm = Farm(register(workspace, search(f"sampler: nsga2, {both}").replace("n_cells: 8", "n_cells: 20")), trade).run()
    front = farm.search.front(farm.search.studies[0])
    assert len(front) > 1
    others = [item for item in farm.search.studies[0].finished() if item not in front]
    assert all(item.chosen["head.activation"] != "silu" for item in others)


def test_cancel_stops_the_asking_and_a_launch_takes_it_up(workspace: Path) -> None:
    text = search("sampler: random")
    revision = register(workspace, text)
    farm = Farm(revision, curve, workers=2)
    farm.tick()
    stop_asking(revision)
    stop_asking(revision)
    for trial in farm.reader.state().trials:
        drop(farm.place.trial(trial.planned.id), "cancel")
    assert any(isinstance(action, Finish) for action in farm.tick().actions)
    assert told(farm) == {"failed": 2}
    assert not farm.reader.growing
    go_on(register(workspace, text))
    assert told(Farm(revision, curve).run()) == {"complete": 8}


def test_hold_asks_nothing_and_ends_nothing(workspace: Path) -> None:
    farm = Farm(register(workspace, search("sampler: random")), curve)
    (farm.place.root / "HOLD").touch()
    assert list(farm.tick().actions) == []
    assert told(farm) == {}
    (farm.place.root / "HOLD").unlink()
    assert told(farm.run()) == {"complete": 8}


def test_a_trial_without_the_objective_has_failed_for_the_search(workspace: Path) -> None:
    def silent(config: Mapping[str, Any]) -> list[dict[str, float]]:
        return [{"loss": 1.0}]

    farm = Farm(register(workspace, search("sampler: random")), silent).run()
    assert told(farm) == {"failed": 8}
    assert {item.reason for item in farm.search.studies[0].suggestions} == {"it reports no validation/accuracy"}
