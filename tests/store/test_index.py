"""The index: it says what the files say, whenever and however often it is synced."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.errors import EnvironmentFault, UsageError
from core.store import Index, StateRow
from core.workspace.layout import Workspace
from tests.written import Writer, launch, planned, publish, score, trial_id


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs", create=True)


@pytest.fixture
def index(place: Workspace):
    with Index.open(place) as opened:
        yield opened


def shown(index: Index) -> dict[str, Any]:
    """All that queries answer (but for states, which control hands in)."""
    sweeps = index.sweeps()
    ids = sorted({row.id for sweep in sweeps for row in index.trials(sweep.id)} | {trial_id(n) for n in range(6)})
    return {
        "counts": index.counts(),
        "sweeps": sweeps,
        "trials": {sweep.id: index.trials(sweep.id) for sweep in sweeps},
        "final": index.final_metrics(ids),
        "loss": {id: index.series(id, "train/loss") for id in ids},
        "accuracy": {id: index.series(id, "validation/accuracy") for id in ids},
        "scores": index.scores(ids),
        "baselines": index.baselines(),
    }


def filled(place: Workspace) -> None:
    launch(place, "heads", [planned(1), planned(2)])
    launch(place, "heads", [planned(2), planned(1), planned(3)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 12).end("failed", cause="host_oom", message="killed\0")
    Writer(trial, 2, resumed=(1, 10)).steps(11, 20).end()
    publish(trial, 2, {"validation/accuracy": 0.91, "train/loss": 0.2}, steps=20)
    score(trial.scoring("k1"), {"overall": 71.2, "official/general": None})
    score(place.baseline("length", "b1"), {"overall": 42.64})
    Writer(place.trial(trial_id(2)), 1).steps(1, 10)


def test_queries_answer_what_the_files_say(place: Workspace, index: Index) -> None:
    filled(place)
    changes = index.sync(place)
    assert (changes.sweeps, len(changes.trials), changes.scorings, changes.problems) == (["heads"], 2, 2, [])
    (sweep,) = index.sweeps()
    assert (sweep.id, sweep.project, sweep.rehearsal, sweep.revision, sweep.trials) == ("heads", "basereward", False, 2, 3)
    assert [(row.id, dict(row.cell)) for row in index.trials("heads")] == [(trial_id(n), {"head.layers": n}) for n in (2, 1, 3)]
    assert index.final_metrics([trial_id(1), trial_id(2), trial_id(3)]) == {
        trial_id(1): {"validation/accuracy": 0.91, "train/loss": 0.2},  # of the published result
        trial_id(2): {"validation/accuracy": 0.1, "train/loss": 1.01, "train/accuracy": 0.5},  # the newest that count
    }
    points = index.series(trial_id(1), "train/loss")
    assert [(p.step, p.attempt) for p in points] == [(step, 1 if step <= 10 else 2) for step in range(1, 21)]
    assert points[10].value == 2.011
    (found,) = index.scores([trial_id(1), trial_id(2)])[trial_id(1)]
    assert found.named() == {"vl_rewardbench/overall": 71.2, "vl_rewardbench/official/general": None}
    assert (found.revision, found.n, found.partial) == ("r1250", 3, {"scored": 3, "skipped": 1})
    assert [(b.owner, b.metrics) for b in index.baselines(["b1"])] == [("length", {"overall": 42.64})]
    assert index.baselines(["other"]) == []


def test_states_that_control_derived_stand_beside_the_files(place: Workspace, index: Index) -> None:
    launch(place, "heads", [planned(1), planned(2)])
    index.sync(place)
    assert index.trials("heads")[0].state is None
    index.record_states([StateRow(trial_id(1), "failed", "nan_loss", ("stale",), 3, "three times")])
    index.record_states([StateRow(trial_id(1), "pending", None, (), 3, "retried")])
    index.sync(place)
    one, two = index.trials("heads")
    assert (one.state, one.cause, tuple(one.flags), one.attempts, one.reason) == ("pending", None, (), 3, "retried")
    assert (two.state, two.attempts) == (None, 0)


def test_a_second_sync_finds_nothing_and_a_third_only_what_is_new(place: Workspace, index: Index) -> None:
    filled(place)
    index.sync(place)
    before = shown(index)
    assert not index.sync(place)
    assert shown(index) == before
    Writer(place.trial(trial_id(2)), 1).metrics(11)
    changes = index.sync(place, ["heads"])
    assert (changes.trials, changes.lines) == ({trial_id(2)}, 1)
    assert len(index.series(trial_id(2), "train/loss")) == 11


def test_a_sync_of_one_sweep_leaves_the_others(place: Workspace, index: Index) -> None:
    launch(place, "one", [planned(1)])
    launch(place, "two", [planned(2)])
    Writer(place.trial(trial_id(1)), 1).steps(1, 2)
    Writer(place.trial(trial_id(2)), 1).steps(1, 2)
    assert index.sync(place, ["one"]).trials == {trial_id(1)}
    assert index.sync(place, ["two"]).trials == {trial_id(2)}


def test_a_result_and_scores_that_were_set_aside_are_gone(place: Workspace, index: Index) -> None:
    filled(place)
    index.sync(place)
    trial = place.trial(trial_id(1))
    shutil.rmtree(trial.result)
    shutil.rmtree(trial.folder / "scores")
    index.sync(place)
    assert index.final_metrics([trial.id])[trial.id]["train/loss"] == 2.02
    assert index.scores([trial.id]) == {}


def test_lines_that_a_resume_hides_go_though_nothing_has_replaced_them(place: Workspace, index: Index) -> None:
    launch(place, "heads", [planned(1)])
    trial = place.trial(trial_id(1))
    Writer(trial, 1).steps(1, 12)
    index.sync(place)
    Writer(trial, 2, resumed=(1, 8))
    index.sync(place)
    assert [p.step for p in index.series(trial.id, "train/loss")] == list(range(1, 9))
    assert index.series(trial.id, "validation/accuracy") == []


def test_a_line_that_is_still_being_written_waits(place: Workspace, index: Index) -> None:
    launch(place, "heads", [planned(1)])
    journal = Writer(place.trial(trial_id(1)), 1).steps(1, 2).folder / "journal.jsonl"
    whole = b'{"v":1,"n":9,"t":1.0,"kind":"metrics","group":"train","step":3,"values":{"loss":0.5}}\n'
    with open(journal, "ab", buffering=0) as handle:
        handle.write(whole[:40])
        index.sync(place)
        assert len(index.series(trial_id(1), "train/loss")) == 2
        handle.write(whole[40:])
    index.sync(place)
    assert [p.value for p in index.series(trial_id(1), "train/loss")][2] == 0.5


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_taken(place: Workspace, index: Index) -> None:
    filled(place)
    scoring = place.trial(trial_id(1)).scoring("k2")
    scoring.folder.mkdir()
    scoring.summary.write_text("{")
    changes = index.sync(place)
    assert len(changes.problems) == 1
    assert str(scoring.summary) in changes.problems[0]
    assert len(index.series(trial_id(2), "train/loss")) == 10
    score(scoring, {"overall": 1.0})
    assert index.sync(place).problems == []
    assert len(index.scores([trial_id(1)])[trial_id(1)]) == 2


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("steps"), st.integers(1, 4)),
        st.tuples(st.just("resume"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["fresh", "claim", "publish", "score", "aside", "sync"]), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(steps=[("fresh", 0), ("steps", 4), ("sync", 0), ("resume", 3)])
@example(steps=[("fresh", 0), ("steps", 4), ("resume", 2), ("sync", 0), ("resume", 1), ("steps", 1)])
def test_an_index_synced_at_any_moments_equals_one_that_is_rebuilt(tmp_path_factory: pytest.TempPathFactory, steps) -> None:
    place = Workspace.open(tmp_path_factory.mktemp("w") / "runs", create=True)
    trial = place.trial(trial_id(1))
    launch(place, "heads", [planned(1), planned(2)])
    writers: list[tuple[Writer, int]] = []
    at = 0
    with Index.open(place) as index:
        for what, number in steps:
            if what == "sync":
                index.sync(place)
            elif what in ("fresh", "resume", "claim") or not writers:
                source = None
                if what == "resume" and writers:
                    before, reached = writers[max(0, len(writers) - 1 - number)]
                    source = (before.number, max(0, reached - number))
                writers.append((Writer(trial, len(writers) + 1, resumed=source, start=what != "claim"), 0))
                at = source[1] if source else 0
            elif what == "steps":
                writers[-1][0].steps(at + 1, at + number, validate=2)
                at += number
                writers[-1] = (writers[-1][0], at)
            elif what == "publish" and not trial.result.exists():
                publish(trial, len(writers), {"validation/accuracy": at / 100})
            elif what == "score":
                score(trial.scoring(f"k{at}"), {"overall": float(at)})
            elif what == "aside" and trial.result.exists():
                shutil.rmtree(trial.result)
        for writer, _ in writers:
            writer.journal.close()
        index.sync(place)
        incremental = shown(index)
        assert all(len({p.step for p in points}) == len(points) for points in incremental["loss"].values())
        index.rebuild(place)
        assert shown(index) == incremental


def test_an_index_of_another_version_is_made_anew(place: Workspace) -> None:
    filled(place)
    with Index.open(place) as index:
        index.sync(place)
        before = shown(index)
        path = Path(index.url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '0'")
        connection.execute("DROP TABLE metrics")
        connection.execute("CREATE TABLE metrics (other TEXT)")
    connection.close()
    with Index.open(place) as index:
        assert "version 0" in index.notices[0]
        index.sync(place)
        assert shown(index) == before
    with Index.open(place) as index:
        assert index.notices == ()


def test_a_damaged_file_is_made_anew_with_a_notice(place: Workspace) -> None:
    filled(place)
    with Index.open(place) as index:
        index.sync(place)
        before = shown(index)
        path = Path(index.url.removeprefix("sqlite:///"))
    path.write_bytes(b"no database at all" * 500)
    with Index.open(place) as index:
        assert "damaged" in index.notices[0]
        index.sync(place)
        assert shown(index) == before


def test_a_file_that_is_damaged_while_it_is_open_is_made_anew(place: Workspace) -> None:
    filled(place)
    with Index.open(place) as index:
        index.sync(place)
        before = shown(index)
        path = Path(index.url.removeprefix("sqlite:///"))
        with open(path, "r+b") as handle:
            handle.write(b"\0" * 4096 * 4)
        index.sync(place, ["heads"])
        assert "damaged" in index.notices[0]
        assert shown(index) == before


def test_the_file_names_the_host_and_lies_in_the_cache(place: Workspace, index: Index) -> None:
    assert Path(index.url.removeprefix("sqlite:///")) == place.cache / f"index-{os.uname().nodename}.sqlite"


def test_a_url_that_is_none_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        Index.open(place, "mysql://somewhere/else")
    monkeypatch.setenv("SWEEP_INDEX", "no url")
    with pytest.raises(UsageError) as caught:
        Index.open(place)
    assert "SWEEP_INDEX" in str(caught.value)


def test_a_server_that_is_away_is_an_error_of_the_environment_without_the_password(place: Workspace) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        Index.open(place, "postgresql://me:secret@127.0.0.1:9/index")
    assert "secret" not in str(caught.value)
    assert "SWEEP_INDEX" in str(caught.value)


def sync_until(root: Path, url: str | None, ready: Any, stop: Any) -> None:
    place = Workspace(root)
    with Index.open(place, url) as index:
        ready.wait(60)
        while not stop.is_set():
            index.sync(place)


def check_two_at_once(place: Workspace, url: str | None) -> None:
    launch(place, "heads", [planned(n) for n in range(1, 6)])
    writers = [Writer(place.trial(trial_id(n)), 1) for n in range(1, 6)]
    spawn = multiprocessing.get_context("spawn")
    ready, stop = spawn.Barrier(3), spawn.Event()
    both = [spawn.Process(target=sync_until, args=(place.root, url, ready, stop)) for _ in range(2)]
    for process in both:
        process.start()
    ready.wait(60)
    for step in range(0, 200, 5):
        for writer in writers:
            writer.steps(step + 1, step + 5)
        time.sleep(0.03)
    stop.set()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    with Index.open(place, url) as index:
        index.sync(place)
        incremental = shown(index)
        assert [p.step for p in incremental["loss"][trial_id(5)]] == list(range(1, 201))
        index.rebuild(place)
        assert shown(index) == incremental


def test_two_processes_that_sync_at_once_agree(place: Workspace) -> None:
    check_two_at_once(place, None)
