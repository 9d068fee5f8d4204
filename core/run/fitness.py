"""Whether this node can do the work at all, asked before the first claim: a node that fails everything quickly would eat every trial.

Where the work is done in a container outside of which the worker stands, the check is a command that runs inside, on every node.

The check runs in a forked child, because it computes: the warm parent must not (see :mod:`core.run.worker`). It looks at what a trial
needs and does not bring: the GPUs of the job are visible, compute right, and reach each other; the mounts that the cluster
profile names are there; the workspace takes and gives back a file, and has space.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.workspace import process

PATIENCE_SECONDS = 180.0
"""A check that has not ended by then has failed: a GPU or a file system hangs."""
SIZE = 256
"""Rows of the matrix that is multiplied."""


@dataclass(frozen=True)
class Needs:
    """What a node must have.

    Attributes:
        gpus: that the allocation has on this node.
        folder: a folder of the workspace that can be written.
        mounts: paths that must be there and not empty.
        free: GiB that the workspace must have free.
    """

    gpus: int
    folder: Path
    mounts: tuple[str, ...] = ()
    free: float = 0.0


def problems_here(needs: Needs) -> list[str]:
    """Check in a forked child; returns what is wrong, nothing where the node is fit."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            found = list(check(needs))
        except BaseException as error:
            traceback.print_exc()
            found = [f"the check itself failed: {type(error).__name__}: {error}"]
        os.write(writer, json.dumps(found).encode()[:4000])
        os._exit(0)
    os.close(writer)
    try:
        return _answer(pid, reader)
    finally:
        os.close(reader)


def problems_by(command: Sequence[str], folder: Path) -> dict[str, list[str]]:
    """Have every node of the allocation checked by a command; returns what is wrong by node, nothing where all are fit.

    Each node prints a line ``{"node": NAME, "problems": [...]}``. What is wrong with the command itself is put down to this node.
    """
    try:
        ended = subprocess.run(
            [*command, str(folder)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {process.node(): [f"the check did not come back within {PATIENCE_SECONDS:g} s"]}
    except OSError as error:
        return {process.node(): [f"the check cannot be started: {error}"]}
    found = {str(line["node"]): list(line["problems"]) for line in map(_line, ended.stdout.splitlines()) if line is not None}
    if ended.returncode or not found:
        last = (ended.stderr.strip() or "no answer").splitlines()[-1]
        found.setdefault(process.node(), []).append(f"the check ended with code {ended.returncode}: {last}")
    return {node: problems for node, problems in found.items() if problems}


def _line(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"node", "problems"} <= value.keys() else None


def _answer(pid: int, reader: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        part = os.read(reader, 4096)
        if not part:
            break
        data += part
    if time.monotonic() >= deadline:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    try:
        return [str(line) for line in json.loads(data)]
    except ValueError:
        how = f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no answer"
        return [f"the check did not come back within {PATIENCE_SECONDS:g} s ({how})" if not data else f"the check broke off ({how})"]


def check(needs: Needs) -> Iterator[str]:
    """What is wrong with this node, one sentence each."""
    for mount in needs.mounts:
        if not os.path.isdir(mount) or not os.listdir(mount):
            yield f"{mount} is not there or is empty"
    yield from _folder(needs.folder, needs.free)
    yield from _computes(needs.gpus)


def _folder(folder: Path, free: float) -> Iterator[str]:
    probe = folder / f".check-{os.getpid()}"
    words = os.urandom(16).hex()
    try:
        probe.write_text(words, encoding="ascii")
        if probe.read_text(encoding="ascii") != words:
            yield f"{folder} does not give back what was written"
        probe.unlink()
        space = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        yield f"{folder}: {error.strerror}"
        return
    if space < free:
        yield f"{folder} has {space:.1f} GiB free, the profile asks for {free:g}"


def _computes(gpus: int) -> Iterator[str]:
    import torch
    from torch.cuda import comm

    torch.set_num_threads(1)
    if gpus and torch.cuda.device_count() < gpus:
        yield f"{torch.cuda.device_count()} GPUs are visible, the job has {gpus}"
        return
    devices = [torch.device("cuda", number) for number in range(gpus)] or [torch.device("cpu")]
    for device in devices:
        # whole numbers below 2^24: exact in float32, whatever the order of the sum
        matrix = (torch.arange(SIZE * SIZE, device=device).reshape(SIZE, SIZE) % 7).float()
        expected = (matrix.cpu().long() @ matrix.cpu().long()).float()
        if not torch.equal((matrix @ matrix).cpu(), expected):
            yield f"{device} computes a wrong product of matrices"
    if gpus > 1:
        parts = [torch.full((SIZE,), 1.0, device=device) for device in devices]
        total = comm.reduce_add(parts)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if not torch.equal(total.cpu(), torch.full((SIZE,), float(gpus))):
            yield f"a sum over {gpus} GPUs is wrong"
