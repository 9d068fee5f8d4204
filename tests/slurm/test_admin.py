"""HOLD in a site's folder, and what an admin sees of workspaces and of accounting."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from toy_worker import Toy, plan_of, registered

from core.control.remedy import Remedy
from core.control.tick import SweepReader, tick
from core.definition.plan import Shape
from core.errors import EnvironmentFault, UsageError
from core.run.attempt import Place, RankOrders
from core.workspace import holds, nights
from core.workspace.claim import claim
from core.workspace.journal import JournalWriter
from core.workspace.layout import Workspace
from core.workspace.requests import user
from slurm.accounting import read
from slurm.checks import _from_a_node, _shared_dir, require_controller
from slurm.cluster import SlurmSubmitter
from slurm.polling import Reply, SlurmScheduler
from slurm.profile import Cluster, Profile
from sweeps import admin
from sweeps.cli.main import app


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's folder, and its file of clusters."""
    folder = tmp_path / "site"
    folder.mkdir()
    clusters = tmp_path / "site.yaml"
    clusters.write_text(f"test:\n  kind: slurm\n  account: proj\n  shared_dir: {folder}\n", encoding="utf-8")
    monkeypatch.setenv("SWEEP_SITE", str(clusters))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace.open(workspace, create=True)


def world(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> tuple[FakeSlurm, Toy, SweepReader, SlurmSubmitter]:
    toy = Toy(place, steps=12)
    slurm = FakeSlurm(tmp_path, monkeypatch, toy, start=time.time())
    toy.slurm = slurm
    revision = registered(place, plan_of(3, Shape(gpus=1)))
    cluster = Cluster("test", Profile.model_validate({"kind": "slurm", "account": "proj", "shared_dir": str(site)}))
    cluster.save(revision.sweep)
    reader = SweepReader(place, revision, SlurmScheduler(600, ask=slurm.ask, clock=slurm.clock))
    return slurm, toy, reader, SlurmSubmitter(place, cluster, "toy:main", ask=slurm.ask, clock=slurm.clock, wall=slurm.clock)


def test_a_hold_of_the_site_stops_submissions_and_claims_and_loses_nothing(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    slurm, _, reader, submitter = world(place, tmp_path, monkeypatch, site)
    assert app(["admin", "stop", "--cluster", "test", "--why", "the cooling is off"], standalone_mode=False) == 0
    result = tick(reader, submitter, clock=slurm.clock)
    assert result.submitted == [] and result.state.held
    assert result.state.counts() == {"held": 3}
    assert [says for _, says in holds.standing(site)] == [f"set by {user()}: the cooling is off"]
    assert app(["admin", "resume", "--cluster", "test"], standalone_mode=False) == 0
    assert len(tick(reader, submitter, clock=slurm.clock).submitted) == 3


def test_workers_that_wait_in_the_queue_are_withdrawn(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    slurm, _, reader, submitter = world(place, tmp_path, monkeypatch, site)
    slurm.nodes = {}
    tick(reader, submitter, clock=slurm.clock)
    slurm.advance(30)
    holds.set_hold(site / "HOLD", "")
    tick(reader, submitter, clock=slurm.clock)
    assert [task.state for task in slurm.tasks] == ["CANCELLED"] * 3


@pytest.mark.parametrize(
    ("name", "held"),
    [("", True), (f".user-{user()}", True), (".account-proj", True), (".user-somebody", False), (".account-other", False)],
)
def test_a_hold_means_whom_it_names(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path, name: str, held: bool
) -> None:
    _, _, reader, _ = world(place, tmp_path, monkeypatch, site)
    holds.set_hold(site / f"HOLD{name}", "")
    assert reader.state().held is held
    assert not place.held, "only sweeps of that cluster are held"


def test_ranks_of_a_step_obey_the_holds_of_the_site_as_their_worker_does(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    _, _, reader, _ = world(place, tmp_path, monkeypatch, site)
    attempt = claim(place.trial(reader.plan[0].id), 1, "w", {})
    assert attempt is not None
    RankOrders(reader.plan[0], None, Place("w"), 2, Remedy()).write(attempt, reader.workspace)
    seen, _ = RankOrders.read(attempt)
    assert not seen.held
    holds.set_hold(site / "HOLD.account-proj", "")
    assert seen.held and not place.held


def test_a_hold_of_an_account_means_the_default_one_and_those_of_nightly_grids(place: Workspace, site: Path) -> None:
    revision = registered(place, plan_of(1))
    asked: list[Sequence[str]] = []

    def ask(command: Sequence[str]) -> Reply:
        asked.append(command)
        return Reply(0, "lab\n", "")

    Cluster("test", Profile.model_validate({"kind": "slurm", "shared_dir": str(site)})).save(revision.sweep, ask)
    assert asked == [("sacctmgr", "--noheader", "--parsable2", "show", "user", user(), "format=defaultaccount")]
    nights.add(place, nights.Grid("weekly", "study", "20:00-07:00", "daily", "UTC", account="proj"))
    nights.add(place, nights.Grid("broken", "study", "20:00-07:00", "daily", "UTC"))
    (place.nights / "broken" / "grid.json").write_text("{")
    for account in ("lab", "proj"):
        holds.set_hold(site / f"HOLD.account-{account}", "")
        assert SweepReader(place, revision).state().held, account
        (site / f"HOLD.account-{account}").unlink()
    Cluster("test", Profile.model_validate({"kind": "slurm", "shared_dir": str(site), "account": "other"})).save(revision.sweep, ask)
    holds.set_hold(site / "HOLD.account-lab", "")
    assert not SweepReader(place, revision).state().held, "the profile names another account now"
    holds.set_hold(site / "HOLD.account-proj", "")
    assert SweepReader(place, revision).state().held, "a launch with a changed profile forgets no grid"
    nights.remove(place, nights.named(place, "weekly"))
    assert not SweepReader(place, revision).state().held
    assert len(asked) == 1, "a profile that names its account is not asked about"


def test_doctor_looks_whether_the_sites_folder_can_be_read(site: Path, tmp_path: Path) -> None:
    def of(folder: str) -> list[str]:
        return [
            check.verdict for check in _shared_dir(Cluster("c", Profile.model_validate({"kind": "slurm", "shared_dir": folder or None})))
        ]

    assert of(str(site)) == ["ok"]
    assert of(str(tmp_path / "nowhere")) == of(str(tmp_path / "site.yaml")) == ["bad"]
    assert of("") == ["note"]
    gone = Cluster("c", Profile.model_validate({"kind": "slurm", "shared_dir": str(tmp_path / "nowhere")}))
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        require_controller(gone, lambda command: Reply(0, "Slurmctld is UP", ""))
    profile = Profile.model_validate({"kind": "slurm", "shared_dir": str(site)})
    for word, verdict in (("holds", "ok"), ("no holds", "bad")):
        said = list(_from_a_node(profile, tmp_path, lambda command, word=word: Reply(0, f"{word}\nseen\nsubmits\n", "")))  # type: ignore[misc]
        assert [check.verdict for check in said] == [verdict, "ok", "ok"]


def test_a_sweep_without_a_site_obeys_its_workspace_alone(place: Workspace, site: Path) -> None:
    revision = registered(place, plan_of(1))
    Cluster("plain", Profile(kind="slurm")).save(revision.sweep)
    holds.set_hold(site / "HOLD", "")
    assert not SweepReader(place, revision).state().held
    (place.root / "HOLD").touch()
    assert SweepReader(place, revision).state().held


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("stop", "--cluster", "test", "--user", "a", "--account", "b"), "two HOLDs"),
        (("stop", "--cluster", "test", "--user", "../a"), "no name"),
        (("stop", "--cluster", "local"), "no shared folder"),
        (("resume", "--cluster", "test", "--user", "a"), "no such HOLD"),
    ],
)
def test_what_cannot_be_set_or_taken_away_is_refused(site: Path, words: tuple[str, ...], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        app(["admin", *words], standalone_mode=False)
    assert list(site.iterdir()) == []


def test_use_of_a_workspace_by_user_account_and_sweep(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    slurm, _, reader, submitter = world(place, tmp_path, monkeypatch, site)
    began = slurm.now
    tick(reader, submitter, clock=slurm.clock)
    slurm.advance(300)
    slurm.preempt(slurm.tasks[0])
    slurm.advance(8 * 3600)
    (use,) = admin.of_workspaces([place], began - 60, slurm.now, slurm.ask)
    assert (use.user, use.account, use.sweep, use.jobs, use.preempted, use.running) == (user(), "proj", "study", 3, 1, 0)
    spent = sum((task.ended or 0) - (task.began or 0) for task in slurm.tasks) / 3600
    assert use.gpu_hours == pytest.approx(spent, abs=0.01) and use.wasted == {}
    (accounted,) = admin.of_accounting(slurm.ask, "now-7days") or ()
    assert (accounted.sweep, accounted.account, accounted.jobs) == ("study", "proj", 3)
    assert accounted.gpu_hours == pytest.approx(spent, abs=0.01)
    assert admin.of_workspaces([place], slurm.now + 3600, slurm.now, slurm.ask)[0].jobs == 0, "before --since"


def test_workers_that_run_or_died_without_a_word_count_and_so_do_trials_that_a_search_added(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Path
) -> None:
    slurm, _, reader, submitter = world(place, tmp_path, monkeypatch, site)
    slurm.user = user()
    reader.growth.append("seeds", why="more seeds", trials=plan_of(4)[3:])
    began = slurm.now
    tick(reader, submitter, clock=slurm.clock)
    slurm.advance(1800)
    (use,) = admin.of_workspaces([place], began - 60, slurm.now, slurm.ask)
    assert use.running == 4, "on other nodes, where no process can be looked for"
    assert use.gpu_hours == pytest.approx(4 * 0.5, abs=0.01)
    assert slurm.asked.count("squeue") == 1, "one question for all"
    slurm._end(slurm.tasks[0], "NODE_FAIL")
    monkeypatch.setattr("time.time", slurm.clock)  # what is heard is written down by this clock
    reader.state()
    slurm.advance(1800)
    (use,) = admin.of_workspaces([place], began - 60, slurm.now, slurm.ask)
    assert (use.running, use.gpu_hours) == (3, pytest.approx(3 * 1.0 + 0.5, abs=0.01))
    assert use.wasted["node_failure"] > 0.3, "until its last word"
    slurm.down = True
    later = admin.of_workspaces([place], began - 60, slurm.now + 30 * 86400, slurm.ask)
    assert later[0].gpu_hours == pytest.approx(3 * 4.0 + 0.5, abs=0.01), "silence is bounded by the limit of the allocation"


def test_a_worker_of_this_machine_without_limit_counts_to_its_last_sign_of_life(place: Workspace) -> None:
    registered(place, plan_of(1))
    folder = place.jobs / "rs-study-0001"
    folder.mkdir()
    gone = {"host": "elsewhere", "boot": "", "pid": 1}
    (folder / "job.json").write_text(json.dumps({"sweep": "study", "revision": 1, "shape": {"gpus": 2}, "created": 5e3, "submitter": gone}))
    (folder / "worker.json").write_text(json.dumps({**gone, "began": 5000.0, "t": 5000.0}))
    attempt = claim(place.trial(plan_of(1)[0].id), 1, "w", {"job": "rs-study-0001"})
    assert attempt is not None
    JournalWriter(attempt.journal, clock=lambda: 8600.0).write("progress", step=1, total=2, values={})
    (use,) = admin.of_workspaces([place], 0.0, 1e6, lambda command: Reply(1, "", ""))
    assert use.gpu_hours == 2.0


def test_waste_is_told_by_cause_and_plain_admin_shows_it(
    place: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    revision = registered(place, plan_of(2, Shape(gpus=2)))
    now = time.time()
    folder = place.jobs / "rs-study-0001"
    folder.mkdir()
    orders = {
        "sweep": "study",
        "revision": 1,
        "shape": vars(Shape(gpus=2)),
        "created": now - 7200,
        "submitter": {"host": "login7", "pid": 1},
    }
    (folder / "job.json").write_text(json.dumps(orders))
    for planned, end in zip(revision.planned(), ({"state": "failed", "cause": "cuda_oom"}, {"state": "completed"}), strict=True):
        attempt = claim(place.trial(planned.id), 1, planned.id, {"job": "rs-study-0001"})
        assert attempt is not None
        clock = iter((now - 3600, now - 1800))
        journal = JournalWriter(attempt.journal, clock=lambda clock=clock: next(clock))
        journal.write("started", attempt=1, resumed=None)
        journal.write("ended", **end)
    assert app(["admin", "--since", "1d", "--json"], standalone_mode=False) == 0
    shown = json.loads(capsys.readouterr().out)
    (use,) = shown["uses"]
    assert (use["sweep"], use["jobs"], use["wasted"]) == ("study", 1, {"cuda_oom": 1.0})
    assert list(shown["by_sweep"]) == ["study"]
    assert app(["admin"], standalone_mode=False) == 0
    assert "cuda_oom 1.00" in capsys.readouterr().out


def test_accounting_is_read_by_the_prefix_of_our_names() -> None:
    text = (
        "12_0|rs-head_ablation-rehearsal-0001-2edf07|ada|proj|CANCELLED by 0|3600|billing=1,cpu=4,gres/gpu:h200=2,gres/gpu=2,node=1\n"
        "12_1|rs-head_ablation-rehearsal-0001-2edf07|ada|proj|FAILED|1800|cpu=4\n"
        "13|somebody-elses|bob|other|COMPLETED|3600|gres/gpu=8\n"
        "14|rs-keeper-29c3b6|ada|proj|RUNNING|60|cpu=1\n"
    )
    records = read(text)
    assert [(r.sweep, r.state, r.gpu_hours) for r in records] == [
        ("head_ablation-rehearsal", "CANCELLED", 2.0), ("head_ablation-rehearsal", "FAILED", 0.0), ("", "RUNNING", 0.0),
    ]  # fmt: skip
    uses = admin.of_accounting(lambda command: Reply(0, text, ""), "now-1days")
    assert uses is not None and admin.total(uses, "user") == {"ada": 2.0}
    assert admin.of_accounting(lambda command: Reply(1, "", "disabled"), "now-1days") is None


def test_calls_are_those_that_the_controller_counts() -> None:
    text = (
        "Remote Procedure Call statistics by message type\n\tREQUEST_PING  ( 1008) count:9 ave_time:3 total_time:9\n\n"
        "Remote Procedure Call statistics by user\n"
        "\tada             (    1000) count:63     ave_time:328    total_time:20712\n"
        "\tbob             (    1001) count:7      ave_time:328    total_time:2296\n"
    )
    assert admin.calls(lambda command: Reply(0, text, ""), ["ada", "eve"]) == {"ada": 63}
    assert admin.calls(lambda command: Reply(1, "", ""), ["ada"]) == {}


def test_budgets_of_nightly_grids(place: Workspace) -> None:
    registered(place, plan_of(1))
    given: dict[str, Any] = {"window": "20:00-07:00", "days": "daily", "zone": "UTC", "budget": 5.0}
    nights.add(place, nights.Grid("weekly", "study", **given))
    (row,) = admin.budgets([place], 0.0)
    assert (row["grid"], row["budget_gpu_hours"], row["night"], row["used_gpu_hours"]) == ("weekly", 5.0, None, 0.0)
