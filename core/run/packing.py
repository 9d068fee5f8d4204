"""How trials share an allocation: each gets a part with GPUs of its own, its cores and its memory, and gives it back.

An allocation holds ``slots`` trials of the worker's shape side by side. What they leave free serves scorings, which may ask for less.
Everything is counted for the first node, on which the children run; the ranks of a trial are placed by the scheduler on all nodes alike.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from core.definition.plan import Shape


@dataclass(frozen=True)
class Allotted:
    """What a worker's allocation holds, on all nodes together; ``memory`` in GiB, ``None`` where nobody counts it."""

    gpus: int = 0
    cpus: int = 1
    memory: float | None = None


@dataclass(frozen=True)
class Part:
    """What one child may use.

    Attributes:
        number: from 0; no two children of a worker that run at once have the same.
        threads: CPU threads of the trial.
        gpus: names of its GPUs as ``CUDA_VISIBLE_DEVICES`` takes them; ``None``: whatever the allocation shows.
        cores: the cores that it is bound to; ``None``: any.
        memory: GiB that it counts for.
    """

    number: int = 0
    threads: int = 1
    gpus: tuple[str, ...] | None = None
    cores: tuple[int, ...] | None = None
    memory: float = 0.0

    def enter(self) -> None:
        """Make this process see no more than its part; before it computes anything."""
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        if self.cores is not None:
            os.sched_setaffinity(0, self.cores)


def visible_gpus(count: int) -> list[str]:
    """Names of the GPUs of this allocation: numbers, or the UUIDs of GPUs or of MIG instances, as the scheduler has written them."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return [name for name in names if name] or [str(number) for number in range(count)]


class Packing:
    """The parts of an allocation that are in use and those that are free.

    Args:
        shape: of the worker's trials.
        slots: how many of them fit side by side.
        threads: CPU threads of each.
        allotted: what the allocation holds.
        gpus: names of the GPUs of its first node.
        cores: the cores that this process may use.
    """

    def __init__(self, shape: Shape, slots: int, threads: int, allotted: Allotted, gpus: Sequence[str], cores: Sequence[int]) -> None:
        self._shape = shape
        self._slots = slots
        self._threads = threads
        self._per_node = Allotted(
            allotted.gpus // shape.nodes, allotted.cpus // shape.nodes, None if allotted.memory is None else allotted.memory / shape.nodes
        )
        self._gpus = list(gpus)[: self._per_node.gpus]
        # a child is bound to cores where they are the allocation's own and no others': elsewhere two workers would crowd the same ones
        self._cores = sorted(cores) if len(cores) == self._per_node.cpus and slots > 1 and shape.nodes == 1 else None
        self._used: dict[int, Part] = {}

    def take(self, shape: Shape) -> Part | None:
        """A part for a trial or a scoring of this shape; ``None`` where none is free."""
        cpus, memory = self._threads_of(shape), self._memory_of(shape)
        per_node = cpus // shape.nodes
        free = [name for name in self._gpus if not any(name in (part.gpus or ()) for part in self._used.values())]
        gpus = shape.gpus // shape.nodes
        if shape.nodes != self._shape.nodes or gpus > len(free) or per_node > self._free_cpus():
            return None
        if self._per_node.memory is None and memory and shape != self._shape:
            return None  # nobody knows how much there is
        if self._per_node.memory is not None and memory > self._per_node.memory - sum(part.memory for part in self._used.values()) + 1e-9:
            return None
        number = next(n for n in range(len(self._used) + 1) if n not in self._used)
        part = Part(number, cpus, tuple(free[:gpus]), self._bound(per_node), memory)
        self._used[number] = part
        return part

    def give_back(self, part: Part) -> None:
        """The child has ended."""
        del self._used[part.number]

    @property
    def full(self) -> bool:
        """Whether nothing at all can be taken up."""
        return len(self._used) >= self._slots and self._free_cpus() <= 0

    def _free_cpus(self) -> int:
        return self._per_node.cpus - sum(part.threads // self._shape.nodes for part in self._used.values())

    def _threads_of(self, shape: Shape) -> int:
        if shape == self._shape:
            return self._threads
        if shape.cpus:
            return shape.cpus
        if shape.gpus and self._per_node.gpus:
            return max(1, self._per_node.cpus * shape.gpus // self._per_node.gpus)
        return min(self._threads, self._per_node.cpus)

    def _memory_of(self, shape: Shape) -> float:
        if shape.memory:
            return shape.memory / shape.nodes
        return self._per_node.memory / self._slots if self._per_node.memory is not None and shape == self._shape else 0.0

    def _bound(self, cpus: int) -> tuple[int, ...] | None:
        if self._cores is None:
            return None
        taken = {core for part in self._used.values() for core in part.cores or ()}
        return tuple([core for core in self._cores if core not in taken][:cpus])
