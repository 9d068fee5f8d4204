"""Reservations, as a real 22.05 writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slurm.polling import Reply
from slurm.profile import Profile
from slurm.reservations import MARGIN_SECONDS, next_begin, read

LINE = (
    "ReservationName=maint StartTime=2026-11-21T13:05:09 EndTime=2026-11-21T14:05:09 Duration=01:00:00 Nodes=node[1-4] NodeCnt=4 CoreCnt=8 "
    "Features=(null) PartitionName=(null) Flags=MAINT,SPEC_NODES,ALL_NODES TRES=cpu=8 Users=adm Groups=(null) Accounts=(null) "
    "Licenses=(null) State=INACTIVE BurstBuffer=(null) Watts=n/a MaxStartDelay=(null)\n"
)
BEGINS = datetime(2026, 11, 21, 13, 5, 9).timestamp()


def begin(line: str, nodes: str = "node1\nnode2\nnode3\nnode4\n", **profile: object) -> float | None:
    def ask(command: Sequence[str]) -> Reply:
        if command[:2] == ("scontrol", "show"):
            return Reply(0, "node1\nnode2\n" if "node[1-2]" in command else "node1\nnode2\nnode3\nnode4\n", "")
        return Reply(0, line if command[0] == "scontrol" else nodes, "")

    return next_begin(Profile.model_validate({"kind": "slurm", "account": "proj", **profile}), ask, BEGINS - 3600, BEGINS + 3600)


def test_a_line_is_read() -> None:
    (found,) = read(LINE)
    assert (found.name, found.begins, found.nodes, found.partition) == ("maint", BEGINS, "node[1-4]", None)
    assert found.flags == {"MAINT", "SPEC_NODES", "ALL_NODES"} and found.users == {"adm"} and found.accounts == set()
    assert read("No reservations in the system\n") == []


def test_one_of_all_nodes_bounds_the_limits() -> None:
    assert begin(LINE) == BEGINS - MARGIN_SECONDS
    some = LINE.replace("ALL_NODES", "").replace("node[1-4]", "node[1-2]")
    assert begin(some) is None, "SLURM uses the other nodes"
    assert begin(some, nodes="node1\nnode2\n", partition="gpu") == BEGINS - MARGIN_SECONDS, "they are all of the partition"


def test_our_own_bounds_nothing() -> None:
    assert begin(LINE, sbatch={"reservation": "maint"}) is None
    assert begin(LINE.replace("Accounts=(null)", "Accounts=proj")) is None


def test_a_controller_that_does_not_answer_bounds_nothing() -> None:
    assert next_begin(Profile(kind="slurm"), lambda command: Reply(1, "", "down"), 0, 1e12) is None
