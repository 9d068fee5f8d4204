"""A sweep that nobody watches, on a SLURM whose clock is wound forward: the last passes of its workers alone take it to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task
from toy_worker import Toy, plan_of, registered

from core.control.tick import SweepReader, tick
from core.workspace.layout import Workspace
from core.workspace.registration import newest
from slurm.cluster import SlurmSubmitter
from slurm.polling import SlurmScheduler
from slurm.profile import Cluster, Profile

PROFILE = Profile.model_validate({"kind": "slurm", "partition": "gpu", "time": "4h", "limits": {"workers": 2}})


@dataclass
class Driving(Toy):
    """Workers that make a pass when they have left, each in a process of its own, as it were."""

    last_pass: bool = True

    def __call__(self, task: Task) -> Iterator[float]:
        yield from super().__call__(task)
        if self.last_pass:
            self.make_pass()

    def make_pass(self) -> list[str]:
        slurm = self.slurm
        assert slurm is not None
        revision = newest(self.workspace.sweep("study"))
        assert revision is not None
        reader = SweepReader(self.workspace, revision, SlurmScheduler(600, ask=slurm.ask, clock=slurm.clock))
        given = SlurmSubmitter(self.workspace, Cluster("c", PROFILE), "toy:main", ask=slurm.ask, clock=slurm.clock, wall=slurm.clock)
        return tick(reader, given, clock=slurm.clock).submitted


@pytest.mark.parametrize("last_pass", [True, False], ids=["driven", "left alone"])
def test_trials_longer_than_the_limit_finish_although_all_workers_leave_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_pass: bool
) -> None:
    place = Workspace.open(tmp_path / "runs", create=True)
    toy = Driving(place, last_pass=last_pass)
    slurm = FakeSlurm(tmp_path, monkeypatch, toy)
    toy.slurm = slurm
    revision = registered(place, plan_of(3))
    assert len(toy.make_pass()) == 2
    slurm.advance(3 * 86_400.0)
    state = SweepReader(place, revision).state()
    assert Counter(state.counts()) == (Counter(completed=3) if last_pass else Counter(pending=3)), "of the trials, one is not begun"
    if last_pass:
        assert not slurm.alive() and len(slurm.tasks) <= 12, "nobody is sent in vain for long"
        assert {end[2] for end in toy.ends} == {"completed", "time_limit"}
