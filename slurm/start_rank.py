"""``python -m slurm.start_rank ATTEMPT``: be one rank of an attempt whose leader has started this step.

What the ranks must know lies in the attempt's folder; which one this is, SLURM says. Signals reach all tasks of a step: rank 0 hears
them, and the ranks agree among themselves when to leave.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path

from core.entry import refuse_intruders
from core.run.attempt import RankOrders, be_rank
from core.workspace.layout import Attempt


def main(folder: Path) -> int:
    """Print into the rank's own file and be the rank; returns the exit code."""
    attempt, rank = Attempt(folder), int(os.environ["SLURM_PROCID"])
    handle = os.open(attempt.rank_output(rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    faulthandler.enable()
    if rank:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    refuse_intruders()
    workspace, orders = RankOrders.read(attempt)
    return be_rank(workspace, attempt, orders, rank, int(os.environ["SLURM_LOCALID"]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
