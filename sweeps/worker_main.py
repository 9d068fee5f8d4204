"""What runs inside a job: check the installation, warm up, work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from core.entry import refuse_intruders


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
            [sys.executable, "-m", "sweeps.cli.main", "tick", orders.sweep, "--files-only", "--workspace", str(workspace.root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=None if orders.allocation.job_id is None else _deaf,
        )  # fmt: skip

    scheduler = None
    if orders.allocation.job_id is not None:
        from slurm.allocation import OwnJob

        scheduler = OwnJob(orders.folder, orders.allocation.job_id)
        orders = replace(orders, allocation=orders.allocation.lasting(scheduler.limit()))
    Worker(workspace, orders, start_pass, scheduler).run()


def _deaf() -> None:
    """A scheduler's warning goes to every process of the allocation; a pass is to end what it has begun."""
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
