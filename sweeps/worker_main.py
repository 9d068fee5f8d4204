"""What runs inside a job: check the installation, warm up, work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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

    def between() -> None:
        # a process of its own: the warm parent stays a safe thing to fork
        subprocess.Popen(
            [sys.executable, "-m", "sweeps.cli.main", "tick", orders.sweep, "--files-only", "--workspace", str(workspace.root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ), start_new_session=True,
        )  # fmt: skip

    Worker(workspace, orders, between).run()
