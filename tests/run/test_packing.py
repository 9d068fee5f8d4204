"""Trials that share an allocation: GPUs of their own, by whatever names; cores; memory; and whose kill a kill was."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

import pytest

from core.control.ports import Grant
from core.definition.plan import Shape
from core.run.leaving import Allocation
from core.run.oom import Kills
from core.run.packing import Allotted, Packing, Part, visible_gpus

GPU = Shape(gpus=1)
MIG = ["MIG-6a", "MIG-7b", "GPU-0c", "GPU-1d"]


def node(shape: Shape = GPU, slots: int = 4, threads: int = 2, gpus: int = 4, cores: range = range(8)) -> Packing:
    return Packing(shape, slots, threads, Allotted(gpus, 8, 64.0), MIG[:gpus], cores)


def test_each_part_has_gpus_and_cores_of_its_own_and_gives_them_back() -> None:
    packing = node()
    parts = [packing.take(GPU) for _ in range(4)]
    assert [part and part.gpus for part in parts] == [("MIG-6a",), ("MIG-7b",), ("GPU-0c",), ("GPU-1d",)]
    assert [part and part.cores for part in parts] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert packing.full and packing.take(GPU) is None
    assert parts[2] is not None
    packing.give_back(parts[2])
    assert packing.take(GPU) == parts[2]


def test_a_child_is_bound_to_cores_only_where_the_allocation_has_no_others() -> None:
    assert (part := node(cores=range(64)).take(GPU)) is not None and part.cores is None
    alone = Packing(GPU, 1, 8, Allotted(1, 8), ["0"], range(8)).take(GPU)
    assert alone == Part(0, 8, ("0",))


def test_a_scoring_of_another_shape_takes_what_it_needs_of_what_is_free() -> None:
    packing = node(Shape(gpus=2), slots=2, threads=4)
    assert packing.take(Shape(gpus=2)) is not None
    first, second = packing.take(GPU), packing.take(GPU)
    assert first is not None and second is not None and packing.take(GPU) is None
    assert (first.gpus, first.threads, second.gpus) == (("GPU-0c",), 2, ("GPU-1d",))
    assert packing.take(Shape(gpus=2)) is None
    packing.give_back(first)
    assert packing.take(Shape(gpus=1, memory=33.0)) is None, "a trial of this shape counts for half of the memory"
    assert packing.take(Shape(gpus=1, memory=32.0)) is not None
    assert Packing(GPU, 1, 1, Allotted(1, 1, None), ["0"], [0]).take(Shape(memory=8.0)) is None, "nobody knows how much there is"


def test_a_trial_over_two_nodes_takes_its_share_of_the_first() -> None:
    shape = Shape(nodes=2, gpus=4)
    packing = Packing(shape, 2, 8, Allotted(8, 16, None), ["0", "1", "2", "3"], range(8))
    assert packing.take(shape) == Part(0, 8, ("0", "1"))
    assert packing.take(shape) == Part(1, 8, ("2", "3"))
    assert packing.take(shape) is None and packing.full


def test_gpus_are_named_as_the_scheduler_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-6a, GPU-0c")
    assert visible_gpus(2) == ["MIG-6a", "GPU-0c"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ["0", "1"]


def test_a_child_sees_its_part_alone() -> None:
    core = min(os.sched_getaffinity(0))
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        Part(gpus=("GPU-1d",), cores=(core,)).enter()
        os.write(writer, f"{os.environ['CUDA_VISIBLE_DEVICES']} {sorted(os.sched_getaffinity(0))}".encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() == f"GPU-1d [{core}]"
    os.close(reader)
    os.close(writer)


def test_a_kill_of_the_kernel_is_one_childs_and_not_its_neighbours() -> None:
    counter = 5
    kills = Kills(lambda: counter)
    assert kills.blame() == 0, "what happened before"
    counter = 6
    assert (kills.blame(), kills.blame()) == (1, 0), "one kill, two children that died by SIGKILL"
    counter = 9
    kills.forget()
    assert kills.blame() == 0


def test_each_of_the_trials_side_by_side_leaves_the_night_at_a_moment_of_its_own() -> None:
    orders = Grant("n/1", closes=1000.0, useful=50.0, stagger=100.0).orders(number=3, seconds=900.0, lead=30.0, slots=8)
    leaves = sorted(orders["leaves"])
    assert 870.0 <= leaves[0] == orders["leave"] and leaves[-1] <= 970.0 and orders["claim"] == round(leaves[0] - 50.0, 3)
    assert min(late - early for early, late in pairwise(leaves)) > 5.0, "no two save at once"
    allocation = Allocation(leave=100.0, leaves=(130.0, 100.0, 160.0))
    assert [allocation.of(number).leave for number in range(4)] == [130.0, 100.0, 160.0, 130.0]
    assert Allocation(leave=7.0).of(3).leave == 7.0
