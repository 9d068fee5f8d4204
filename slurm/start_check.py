"""``python -m slurm.start_check JOB_FOLDER``: say whether this node can do the work of the worker whose orders lie there.

A step with one task on each node runs it, inside the container where the profile has one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from core.entry import refuse_intruders
from core.run.fitness import check
from core.run.orders import Orders
from core.workspace import process


def main(folder: Path) -> None:
    """Print a line with what is wrong."""
    refuse_intruders()
    orders, _ = Orders.read(folder)
    print(json.dumps({"node": process.node(), "problems": list(check(orders.needs))}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
