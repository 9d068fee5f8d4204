"""A worker on GPUs that are null devices: it shares its allocation as any worker does, and its trials only say what they see.

``devices:main`` is the entry of such a worker; ``python -m devices ATTEMPT`` is a rank of one of its trials. Each waits until all that
should run side by side are there, so that whoever ran alone is found out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from core.run import child, worker
from core.run.attempt import Place, Work, perform
from core.run.ending import say
from core.run.orders import Orders
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt, Workspace

TOGETHER = {"forks": 2, "steps": 4}
"""Processes of a sweep that run at once: two trials, of one rank each or of two."""


def see(sweep: str, attempt: Attempt, rank: int) -> None:
    """Leave a note of what this process sees, and wait for the others."""
    folder = attempt.folder.parents[4] / f"seen-{sweep}"
    folder.mkdir(exist_ok=True)
    note = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "node": os.environ["SLURMD_NODENAME"], "rank": rank, "together": False}
    trial = attempt.folder.parents[1]
    file = folder / f"{trial.name}-{rank}.json"
    file.write_text(json.dumps(note))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not note["together"]:
        note["together"] = len(list(folder.glob("*.json"))) == TOGETHER[sweep]
        time.sleep(0.1)
    file.write_text(json.dumps(note))
    if rank == 0:
        publish_folder(trial / "result", attempt.folder / ".result", lambda made: (made / "metrics.json").touch(), {})


def train(workspace: Workspace, work: Work, attempt: Attempt, place: Place) -> int:
    assert work.planned is not None
    if work.planned.shape.processes > 1:
        return perform(workspace, work, attempt, place)
    see("forks", attempt, 0)
    journal = JournalWriter(attempt.journal)
    journal.write("ended", state="completed")
    journal.close()
    return 0


def main(folder: str) -> None:
    """Be the worker whose orders lie in ``folder``."""
    worker.problems_here = lambda needs: []  # nothing computes on a null device
    worker.problems_by = lambda command, folder: {}
    child.perform = train  # type: ignore[assignment]  # without what a debugger asks for
    orders, workspace = Orders.read(Path(folder))
    worker.Worker(workspace, orders).run()


if __name__ == "__main__":
    own = Attempt(Path(sys.argv[1]))
    see("steps", own, int(os.environ["SLURM_PROCID"]))
    say(own.folder, int(os.environ["SLURM_PROCID"]), {"state": "completed"})
