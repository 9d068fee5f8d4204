"""What runs inside a job: check the installation, warm up, work.

``python -m sweeps.worker_main FOLDER`` is the pass that a worker leaves behind which was told to leave before it had warmed up.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import refuse_intruders

if TYPE_CHECKING:
    from core.run.orders import Orders
    from core.workspace.layout import Workspace
    from slurm.allocation import OwnJob


def main(folder: str) -> None:
    """Be the worker whose orders lie in ``folder``."""
    refuse_intruders()
    from core.run.orders import Orders
    from core.run.worker import Worker
    from core.training.warm import warm

    orders, workspace = Orders.read(Path(folder))
    print(json.dumps(orders.describe()), flush=True)
    if not orders.step:  # where ranks are a step of the scheduler, each of them imports for itself
        warm(orders.device, orders.shape.processes)

    def start_pass() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _pass(orders, workspace), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=None if orders.allocation.job_id is None else _deaf,
        )  # fmt: skip

    scheduler = _scheduler(orders)
    if scheduler is not None and orders.allocation.grid is not None:
        # the jobs of a night are the ones that SLURM may shorten as it starts them
        orders = replace(orders, allocation=orders.allocation.lasting(scheduler.limit()))
    Worker(workspace, orders, start_pass, scheduler).run()


def _scheduler(orders: Orders) -> OwnJob | None:
    if orders.allocation.job_id is None:
        return None
    from slurm.allocation import OwnJob

    return OwnJob(orders.folder, orders.allocation.job_id)


def _pass(orders: Orders, workspace: Workspace) -> list[str]:
    return [sys.executable, "-m", "sweeps.cli.main", "tick", orders.sweep, "--files-only", "--workspace", str(workspace.root)]


def _deaf() -> None:
    """A scheduler's warning goes to every process of the allocation; a pass is to end what it has begun."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def leave_a_pass(folder: Path) -> None:
    """Become a pass, unless somebody has cancelled the job; its orders lie in ``folder``."""
    from core.run.leaving import was_cancelled
    from core.run.orders import Orders

    orders, workspace = Orders.read(folder)
    if not was_cancelled(orders.allocation, _scheduler(orders)):
        command = _pass(orders, workspace)
        os.execv(command[0], command)


if __name__ == "__main__":
    leave_a_pass(Path(sys.argv[1]))
