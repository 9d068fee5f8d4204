"""What a site allows is read from SLURM's own words; the texts are those of a real 22.05."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from slurm.allowances import Allowance, gpu_minutes, minutes, read_assoc, read_qos
from slurm.checks import Check, _accounting, _from_a_node, _partition, _reservations
from slurm.polling import Reply
from slurm.profile import Profile

NONE = "cpu=N(0),mem=N(0),billing=N(0),gres/gpu=N(0)"
ASSOC_MGR = f"""\
Current Association Manager state
Association Records
ClusterName=c Account=root UserName= ID=1 ParentAccount= GrpTRES={NONE} GrpTRESMins={NONE} MaxJobs=
ClusterName=c Account=faculty UserName= ID=2 ParentAccount=root(1) GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=9000(8500) MaxJobs=
ClusterName=c Account=lab UserName= ID=3 ParentAccount=faculty(2) GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=900(40) MaxJobs=
ClusterName=c Account=lab UserName=ada(1000) ID=4 ParentAccount= GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=100(100) MaxJobs=
ClusterName=c Account=lab UserName=bob(1001) ID=5 ParentAccount= GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=7(0) MaxJobs=
ClusterName=c Account=other UserName= ID=6 ParentAccount=root(1) GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=5(0) MaxJobs=
QOS Records
QOS=normal(1) UsageRaw=0.0 GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=600(10) MaxWallPJ=240
QOS=long(2) UsageRaw=0.0 GrpTRES={NONE} GrpTRESMins=cpu=N(0),gres/gpu=60(10) MaxWallPJ=
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [("30", 30.0), ("90:30", 90.5), ("04:00:00", 240.0), ("7-00:00:00", 10080.0), ("1-12", 2160.0), ("UNLIMITED", None), ("", None)],
)
def test_times_are_read_in_every_form_that_slurm_writes(text: str, value: float | None) -> None:
    assert minutes(text) == value


def test_limits_of_associations_and_qos_are_told_in_words() -> None:
    (row,) = read_assoc("lab|long,normal|normal|100|10|gres/gpu=16|gres/gpu:h200=8|1-00:00:00\n")
    assert row == Allowance("account lab", frozenset({"long", "normal"}), 100, 10, 16, 8, 1440.0, "normal")
    assert row.words == "100 jobs submitted, 10 jobs running, 16 GPUs of all together, 8 GPUs a job, 24 h a job"
    assert [found.words for found in read_qos("normal|20|||gres/gpu=4|04:00:00\nfree|||||\n")] == [
        "20 jobs submitted, 4 GPUs a user, 4 h a job", "",
    ]  # fmt: skip


def test_gpu_minutes_are_those_of_the_user_the_accounts_above_and_the_qos() -> None:
    found = list(gpu_minutes(ASSOC_MGR, "ada", {"lab"}, {"normal"}))
    assert [(row.where, row.given, row.left) for row in found] == [
        ("account faculty", 9000, 500), ("account lab", 900, 860), ("account lab, user ada", 100, 0), ("qos normal", 600, 590),
    ]  # fmt: skip


def answers(**replies: str) -> dict[str, Reply]:
    return {name: Reply(0, text, "") for name, text in replies.items()}


def checks(profile: dict[str, object], replies: dict[str, Reply]) -> dict[str, Check]:
    def ask(command: Sequence[str]) -> Reply:
        return next((reply for word, reply in replies.items() if word in command), Reply(1, "", "not played"))

    return {check.check: check for check in _accounting(Profile.model_validate({"kind": "slurm", **profile}), ask)}


def test_a_limit_that_a_launch_would_meet_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    replies = answers(assoc="lab|normal||||||\n", qos="normal|20|||gres/gpu=4|04:00:00\nlong|2|||||\n", assoc_mgr=ASSOC_MGR)
    found = checks({"account": "lab", "time": "5h"}, replies)
    assert found["limits of qos normal"].verdict == "bad" and "lower the profile's time (5 h)" in found["limits of qos normal"].next
    assert (found["MaxSubmitJobs"].verdict, found["MaxSubmitJobs"].found[:18]) == ("note", "20: of 64 workers ")
    assert found["GPU-minutes"].verdict in ("ok", "bad")
    assert "limits of qos long" not in found, "not ours"
    assert checks({"account": "lab", "time": "4h"}, replies)["limits of qos normal"].verdict == "ok"
    hidden = {**replies, "assoc_mgr": Reply(1, "", "Access/permission denied")}
    assert checks({"account": "lab"}, hidden)["GPU-minutes"].verdict == "note"


def test_limits_are_those_under_which_the_job_will_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    manager = (
        "ClusterName=c Account=lab UserName= ID=3 ParentAccount=root(1) GrpJobs=N(0) GrpSubmitJobs=30(2) "
        "GrpTRES=cpu=N(0),gres/gpu=16(4) GrpTRESMins=cpu=N(0)\n"
        "ClusterName=c Account=lab UserName=ada(1000) ID=4 ParentAccount= GrpJobs=9(1) GrpSubmitJobs=N(0) GrpTRES=cpu=N(0)\n"
        "ClusterName=c Account=lab UserName=bob(1001) ID=5 ParentAccount= GrpJobs=1(1) GrpSubmitJobs=1(1) GrpTRES=cpu=N(0)\n"
    )
    replies = answers(
        defaultaccount="lab\n", assoc="lab|normal,tight|normal|||||\nother|tight|tight|1||||\n", assoc_mgr=manager,
        qos="normal|||||1-00:00:00\ntight|1||||00:05:00\nnight|||||04:00:00\n",
        partition="PartitionName=cpu Default=YES QoS=tight MaxTime=1\nPartitionName=gpu Default=NO QoS=night MaxTime=1\n",
    )  # fmt: skip
    replies["format=defaultaccount"] = replies.pop("defaultaccount")
    found = checks({"partition": "gpu", "time": "4h"}, replies)
    assert "limits of qos tight" not in found, "usable, but the job runs under the default one"
    assert {found[f"limits of qos {name}"].verdict for name in ("normal", "night")} == {"ok"}, "the second is the partition's"
    assert found["limits of account lab, all together"].found == "30 jobs submitted, 16 GPUs of all together"
    assert found["MaxSubmitJobs"].found.startswith("30: of 64 workers")
    assert found["MaxJobs"].found.startswith("9: ") and "limits of account lab, user bob" not in found
    assert checks({"partition": "gpu", "time": "5h"}, replies)["limits of qos night"].verdict == "bad"
    assert checks({"partition": "cpu", "time": "4h"}, replies)["limits of qos tight"].verdict == "bad"
    assert checks({"partition": "gpu", "time": "4h", "account": "other"}, replies)["limits of qos tight"].verdict == "bad", "its only one"


@pytest.mark.parametrize(
    ("partition", "time", "verdicts"),
    [
        ("debug", "4h", ["bad"]),
        ("debug", "5min", ["ok"]), ("gpu", "4h", ["ok"]), ("debug,gpu", "4h", ["ok", "ok"]), (None, "4h", ["note", "bad"]),
        ("debug,long", "9h", ["ok", "ok"]), ("gpu", "9h", ["bad"]), ("debug,gpu", "9h", ["bad", "bad"]), ("gup", "4h", ["bad"]),
    ],
)  # fmt: skip
def test_a_time_that_no_partition_gives_is_said(partition: str | None, time: str, verdicts: list[str]) -> None:
    rows = "debug*|up|5:00|2\ngpu|up|8:00:00|4\nlong|up|infinite|4\n"
    profile = Profile.model_validate({"kind": "slurm", "partition": partition, "time": time})
    assert [check.verdict for check in _partition(profile, lambda command: Reply(0, rows, ""))] == verdicts


@pytest.mark.parametrize(
    ("out", "verdicts", "word"),
    [
        ("seen\nsubmits\n", ("ok", "ok"), "may send"),
        ("unseen\nsubmits\n", ("bad", "ok"), "may send"),
        ("seen\nno sbatch\n", ("ok", "note"), "no sbatch"),
        ("seen\nrefused sbatch: error: Access/permission denied\n", ("ok", "note"), "permission denied"),
        ("", ("note", "note"), "not checked"),
    ],
)
def test_what_a_node_sees_and_may_do(tmp_path: Path, out: str, verdicts: tuple[str, str], word: str) -> None:
    found = list(_from_a_node(Profile(kind="slurm"), tmp_path, lambda command: Reply(0, out, "srun: busy")))
    assert tuple(check.verdict for check in found) == verdicts and word in found[1].found


def test_a_reservation_is_named_with_its_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_790_000_000.0)
    text = (
        "ReservationName=maintenance StartTime=2026-09-22T20:00:00 Nodes=node[1-4] PartitionName=(null) Flags=MAINT,ALL_NODES Users=bob\n"
    )
    (check,) = _reservations(Profile(kind="slurm"), lambda command: Reply(0, text, ""))
    assert check.verdict == "note" and "maintenance (node[1-4]) from 2026-09-22 20:00; it takes all nodes" in check.found
    (check,) = _reservations(Profile(kind="slurm"), lambda command: Reply(0, "No reservations in the system\n", ""))
    assert (check.verdict, check.found) == ("ok", "none within a week")
