"""Each answer of SLURM is read for what it is. The texts are those of a real 22.05."""

from __future__ import annotations

import pytest

from core.control.ports import JobAnswer
from slurm.reading import FIELDS, Row, of_end, of_row, read_sacct, read_squeue


def squeue(*rows: tuple[str, str, int, str, str]) -> str:
    widths = [int(field.partition(":")[2]) for field in FIELDS]
    return "".join("".join(f"{value!s:<{width}}" for value, width in zip(row, widths, strict=True)) + "\n" for row in rows)


def row(state: str, reason: str = "None", restart: int = 0) -> Row:
    return Row("12_3", state, restart, "rs-s-0001-abc123", reason)


def test_rows_of_squeue_are_cut_at_their_widths() -> None:
    text = squeue(
        ("7_0", "RUNNING", 0, "rs-small-rehearsal-0001-2edf07", "None"),
        ("7_1", "PENDING", 1, "rs-small-rehearsal-0001-2edf07", "launch failed requeued held"),
        ("9", "COMPLETED", 0, "wrap", "None"),
    )
    assert read_squeue(text) == [
        Row("7_0", "RUNNING", 0, "rs-small-rehearsal-0001-2edf07", "None"),
        Row("7_1", "PENDING", 1, "rs-small-rehearsal-0001-2edf07", "launch failed requeued held"),
        Row("9", "COMPLETED", 0, "wrap", "None"),
    ]
    assert [found.array_task for found in read_squeue(text)] == [0, 1, None]


def test_what_is_no_row_is_no_row() -> None:
    assert read_squeue("") == []
    assert read_squeue("\nslurm_load_jobs error: Unable to contact slurm controller (connect failure)\n") == []


def test_states_of_sacct_lose_their_tails_and_waiting_tasks_are_listed_one_by_one() -> None:
    text = "12_0|COMPLETED\n12_1|CANCELLED by 1000\n12_[2-3,7%4]|PENDING\n13|NODE_FAIL\n"
    states = {"12_0": "COMPLETED", "12_1": "CANCELLED", "12_2": "PENDING", "12_3": "PENDING", "12_7": "PENDING", "13": "NODE_FAIL"}
    assert read_sacct(text) == states
    assert read_sacct("Slurm accounting storage is disabled\n") == {}


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("COMPLETED", "lost"),  # a process that left without a word; a result is the trial's folder to say
        ("FAILED", "lost"),
        ("OUT_OF_MEMORY", "failed"),
        ("NODE_FAIL", "failed"),
        ("BOOT_FAIL", "failed"),
        ("CANCELLED", "interrupted"),
        ("PREEMPTED", "preempted"),
        ("TIMEOUT", "time_limit"),
        ("DEADLINE", "time_limit"),
    ],
)
def test_last_states_end_an_attempt_with_their_own_words(state: str, ended: str) -> None:
    answer = of_row(row(state), requeue=False)
    assert (answer.alive, answer.ended, answer.silent) == (False, ended, False)
    named = {"OUT_OF_MEMORY": "host_oom", "NODE_FAIL": "node_failure", "BOOT_FAIL": "node_failure"}
    assert answer.cause == named.get(state)
    assert answer.evidence == f"SLURM says {state} for job 12_3"
    assert answer.verdict(0) == (ended, answer.evidence)


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
def test_a_moment_before_a_requeue_is_no_end(state: str) -> None:
    """sacct and squeue show NODE_FAIL for up to ten seconds before the job is PENDING again."""
    answer = of_row(row(state), requeue=True)
    assert answer.alive and answer.silent and answer.verdict(0) is None


def test_a_requeued_job_ends_what_ran_before_and_nothing_later() -> None:
    answer = of_row(row("PENDING", "BeginTime", restart=1), requeue=True)
    assert answer.alive
    state, evidence = answer.verdict(0) or ("", "")
    assert state == "lost" and "restarted" in evidence
    assert answer.verdict(1) is None
    assert answer.verdict(2) is None, "an answer that is older than the attempt says nothing about it"


def test_an_end_of_an_earlier_incarnation_says_nothing_about_a_later_one() -> None:
    assert of_row(row("PREEMPTED", restart=0), requeue=False).verdict(1) is None


def test_a_job_that_is_held_after_a_failed_start_is_replaced_and_says_how_to_free_it() -> None:
    answer = of_row(row("PENDING", "launch failed requeued held", restart=1), requeue=True)
    assert not answer.alive and answer.ended is None
    assert "scontrol release 12_3" in answer.evidence


@pytest.mark.parametrize(
    "reason", ["JobHeldUser", "JobHeldAdmin", "ReqNodeNotAvail, Reserved for maintenance", "Priority", "PartitionTimeLimit"]
)
def test_what_waits_is_waited_for_and_the_reason_is_kept(reason: str) -> None:
    answer = of_row(row("PENDING", reason), requeue=False)
    assert answer.alive and not answer.silent
    assert reason in answer.evidence
    if reason.startswith("ReqNodeNotAvail"):
        assert "maintenance" in answer.evidence


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING"])
def test_what_is_there_is_there(state: str) -> None:
    assert of_row(row(state), requeue=False) == JobAnswer(alive=True, evidence=f"SLURM says {state} for job 12_3")


def test_a_state_never_heard_of_proves_nothing() -> None:
    answer = of_end("HIBERNATING", "12_3", requeue=False)
    assert answer.alive and answer.silent and answer.verdict(0) is None
