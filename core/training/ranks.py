"""The ranks of a trial: processes that train one model together and divide each batch among them.

Every rank sees the same data in the same order and takes its part of each batch: consecutive pairs, as many as any other rank
takes. Where they do not come out even (the last batch), a part is filled up with pairs that count for nothing, so that all ranks
make the same number of passes. What is measured is gathered in the order of the batch. So neither the order of the data nor
the effective batch depends on the number of ranks.

Ranks meet at a file: rank 0 opens a port that is free on its host and writes the address there, the others wait for it. There
is no port to agree on beforehand, and none to collide.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

from core.errors import TrialFailed
from core.training.context import Ask, Seat
from core.workspace.files import write_atomic

MEET_SECONDS = 600.0
"""How long a rank waits for the others to come; nodes of one job may load their libraries at very different speed."""

PATIENCE = timedelta(hours=1)
"""How long a rank waits in a collective call. Ranks die together by other means; this is the last resort."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks of its trial.

    Attributes:
        rank: from 0; rank 0 records what happens.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, seat: Seat, device: str) -> Ranks:
        """Meet the other ranks; a trial of one rank has nobody to meet.

        Raises:
            TrialFailed: ``comm_timeout`` where rank 0 did not come in time.
        """
        if seat.ranks == 1 and seat.meeting is None:
            return cls()
        if device == "cuda":
            torch.cuda.set_device(seat.local)
        elif seat.nodes == 1 and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.update(RANK=str(seat.rank), WORLD_SIZE=str(seat.ranks), LOCAL_RANK=str(seat.local))
        assert seat.meeting is not None, "ranks have a place to meet"
        # numbers of the control flow go through gloo, so that asking costs no synchronisation with a GPU
        kind = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        store = _host(seat, seat.meeting) if seat.rank == 0 else _guest(seat.ranks, seat.meeting)
        dist.init_process_group(kind, store=store, rank=seat.rank, world_size=seat.ranks, timeout=PATIENCE)
        return cls(seat.rank, seat.ranks)

    def leave(self) -> None:
        """Say goodbye, so that a library that watches the others sees no failure in it."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> tuple[list[Item], int]:
        """This rank's part of a batch, as long as every other rank's, and how many of its items count (the first ones)."""
        size = -(-len(items) // self.count)
        own = list(items[self.rank * size : (self.rank + 1) * size])
        return [*own, *[items[0]] * (size - len(own))], len(own)

    def parts(self, items: Sequence[Item]) -> list[list[Item]]:
        """The parts of all ranks."""
        return [Ranks(rank, self.count).part(items)[0] for rank in range(self.count)]

    def rows(self, own: Tensor, count: int) -> Tensor:
        """The rows of all ranks in the order of the batch, ``[count, ...]``, from this rank's ``[part, ...]``."""
        if self.count == 1:
            return own[:count]
        mine = own.detach().to("cpu").contiguous()
        everyone = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(everyone, mine)
        return torch.cat(everyone)[:count]

    def sum(self, value: float) -> float:
        """The sum over the ranks."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def agree(self, ask: Ask | None) -> Ask | None:
        """What rank 0 was asked: all ranks save and leave after the same step."""
        return self.tell(ask)

    def tell(self, value: Item) -> Item:
        """Rank 0's value."""
        if self.count == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            self.sum(0.0)


def _host(seat: Seat, meeting: Path) -> TCPStore:
    name = "127.0.0.1" if seat.nodes == 1 else socket.gethostname()
    store = TCPStore(name, 0, seat.ranks, True, PATIENCE, wait_for_workers=False)
    write_atomic(meeting, json.dumps({"host": name, "port": store.port}))
    return store


def _guest(ranks: int, meeting: Path) -> TCPStore:
    deadline = time.monotonic() + MEET_SECONDS
    while not meeting.exists():
        if time.monotonic() > deadline:
            raise TrialFailed("comm_timeout", f"rank 0 did not come within {MEET_SECONDS:g} s: {meeting} is not there")
        time.sleep(0.1)
        os.listdir(meeting.parent)  # an NFS client remembers for a while that a file is absent, unless its folder is read
    address = json.loads(meeting.read_text(encoding="utf-8"))
    return TCPStore(address["host"], address["port"], ranks, False, PATIENCE)
