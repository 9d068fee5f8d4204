"""The command's entry point: check that our four packages are ours, then hand over.

``sweeps`` is also the import name of another distribution (W&B's engine), and ``core`` is a name that many a user's folder has.
The check must run before anything of the floors above is imported, so it lives here, and names the command's module by string:
the one place where the ground knows of the top floor.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGES = ("core", "slurm", "dashboards", "sweeps")
COMMAND = "sweeps.cli.main"
MARK = 'DISTRIBUTION = "rewardsweep"'
"""Stands in the ``__init__.py`` of each of our packages."""


def intruders() -> list[str]:
    """The packages that resolve outside our distribution, as ``name: where it was found``."""
    root = Path(__file__).resolve().parent.parent
    found = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        # a foreign package that was installed over ours has replaced __init__.py and may have left all else
        if origin is None or origin.parent.parent != root or MARK not in origin.read_text(encoding="utf-8", errors="replace"):
            found.append(f"{name}: {origin or 'not found'}")
    return found


def refuse_intruders() -> None:
    """Leave with exit code 3 where a foreign package hides one of ours."""
    found = intruders()
    if found:
        print(
            "error: a package of another distribution hides one of rewardsweep's\n"
            + "".join(f"  found:    {line}\n" for line in found)
            + f"  allowed:  packages beside {Path(__file__).resolve().parent}\n"
            + "  next:     pip uninstall the other distribution, or install rewardsweep into an environment of its own",
            file=sys.stderr,
        )
        raise SystemExit(3)


def main() -> None:
    """Run the command ``sweep``."""
    refuse_intruders()
    importlib.import_module(COMMAND).main()
