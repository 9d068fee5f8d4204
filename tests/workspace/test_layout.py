"""Opening a workspace, registering revisions, requests and fingerprints."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from core.definition.plan import PlannedTrial
from core.errors import EnvironmentFault, UsageError
from core.workspace.fingerprints import tree_digest
from core.workspace.layout import Workspace
from core.workspace.registration import newest, register, resolve, sweep_id
from core.workspace.requests import asked, drop

PLANNED = PlannedTrial(id="ab" * 16, cell={"head.layers": 1}, seed=0, config={"seed": 0})


def _register(workspace: Workspace, digest: str, rehearsal: bool = False, name: str = "study") -> tuple[int, bool]:
    sweep = workspace.sweep(sweep_id(name, rehearsal))
    meta = {"name": name, "project": name, "rehearsal": rehearsal, "digest": digest}
    revision, fresh = register(workspace, sweep, meta=meta, definition="name: study\n", code=[], trials=[PLANNED])
    return revision.number, fresh


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    Workspace.open(tmp_path / "runs", create=True)
    (tmp_path / "runs" / "FORMAT").write_text("2\n")
    with pytest.raises(EnvironmentFault, match="newer version"):
        Workspace.open(tmp_path / "runs")


def test_reading_makes_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no workspace here"):
        Workspace.open(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/mountinfo").exists(), reason="needs a place that cannot be written")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        Workspace.open(tmp_path / "file" / "runs", create=True)


def test_an_unchanged_definition_is_no_new_revision(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    assert _register(workspace, "d1") == (1, True)
    assert _register(workspace, "d1") == (1, False)
    assert _register(workspace, "d2") == (2, True)
    assert resolve(workspace, "study").number == 2
    assert resolve(workspace, "study@1").meta["digest"] == "d1"
    revision = newest(workspace.sweep("study"))
    assert revision is not None
    assert [planned.id for planned in revision.plan()] == [PLANNED.id]


def test_two_launches_at_once_make_one_revision_of_one_definition(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    results: list[tuple[int, bool]] = []
    barrier = threading.Barrier(6)

    def launch() -> None:
        barrier.wait()
        results.append(_register(workspace, "same"))

    threads = [threading.Thread(target=launch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workspace.sweep("study").revisions() == [1]
    assert sorted(results, key=str) == [(1, False)] * 5 + [(1, True)]


def test_a_name_means_its_real_launch_before_its_rehearsal(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    _register(workspace, "d1", rehearsal=True)
    assert resolve(workspace, "study").rehearsal
    _register(workspace, "d2")
    assert not resolve(workspace, "study").rehearsal
    assert resolve(workspace, "study-rehearsal").rehearsal
    with pytest.raises(UsageError) as caught:
        resolve(workspace, "studdy")
    assert caught.value.nearest == "study"


def test_requests_are_replayed_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    trial = workspace.trial(PLANNED.id)
    assert asked(trial).stop is None
    drop(trial, "cancel")
    assert asked(trial).stop == "cancel"
    (trial.folder / "attempts" / "0003").mkdir(parents=True)
    drop(trial, "force")
    drop(trial, "checkpoint")
    wish = asked(trial)
    assert (wish.stop, wish.forgiven, wish.dead, wish.checkpoints, wish.count) == (None, 3, frozenset({3}), 1, 3)


def test_a_retry_forgives_a_scoring_up_to_its_own_attempts(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    trial = workspace.trial(PLANNED.id)
    (trial.folder / "attempts" / "0001").mkdir(parents=True)
    (trial.scoring("k").folder / "attempts" / "0002").mkdir(parents=True)
    (trial.scoring("k").folder / "attempts" / "0001").mkdir(parents=True)
    drop(trial, "retry")
    assert asked(trial).forgiven == 1
    assert asked(trial).of_scoring("k").forgiven == 2
    assert asked(trial).of_scoring("other").forgiven == 0


def test_two_threads_may_take_a_fingerprint_at_once() -> None:
    files = sorted((Path(__file__).parents[2] / "core" / "control").glob("*.py"))[:6]
    thresholds = gc.get_threshold()

    def give_way(phase: str, info: dict[str, int]) -> None:
        time.sleep(1e-5)

    gc.callbacks.append(give_way)  # each collection lets the other thread in, in the middle of a syntax tree
    gc.set_threshold(200)
    try:
        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(lambda _: [tree_digest(file) for file in files], range(2))
    finally:
        gc.callbacks.remove(give_way)
        gc.set_threshold(*thresholds)
    assert one == other


def test_a_fingerprint_ignores_comments_and_docstrings_and_nothing_else(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        (tmp_path / "m.py").write_text(text)
        return tree_digest(tmp_path / "m.py")

    base = digest('"""Old."""\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    assert digest("# comment\ndef f( x ):\n    return x+1  # why\n") == base
    assert digest("def f(x):\n    return x + 2\n") != base
    assert digest('def f(x):\n    "doc"\n    "not a docstring"\n    return x + 1\n') != base


def test_a_plan_line_reads_back_as_it_was(tmp_path: Path) -> None:
    planned = replace(PLANNED, evaluate=({"benchmark": {"name": "b"}, "revision": "r"},))
    assert PlannedTrial.from_json(planned.to_json()) == planned
