"""``sweep run``: one cell in this process, with its output in the terminal."""

from __future__ import annotations

import os
import pdb as debugger
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.control.read import Reader
from core.control.tick import trial_key
from core.definition.identity import trial_id
from core.definition.plan import PlannedTrial, cell_name
from core.definition.trial import TrialConfig
from core.errors import UsageError
from core.run.attempt import Place, Work, perform, take
from core.workspace.files import read_json
from core.workspace.layout import Workspace
from slurm.local import cores_here, gpus_here
from sweeps import planning


def run_here(
    name: str, overrides: Sequence[str], rehearse: bool, root: Path, *, steps: int | None, pdb: bool, real_data: int | None = None
) -> int:
    """Train and score the one cell that the overrides leave; returns the exit code.

    With ``steps`` the work goes to a scratch workspace that is removed afterwards: such a run has another budget, so it is
    another trial, and nobody asked to keep it.

    Raises:
        UsageError: more than one cell is left (it names the axes), or a debugger is asked for in several processes.
    """
    definition = planning.read(name, overrides, rehearse, real_data)
    plan = planning.make(definition, planning.workspace_if_any(root))
    planned = _one(plan)
    if {trial.id: action for trial, action in plan.trials}[planned.id] == "blocked":
        raise UsageError(
            "this trial needs what has no result yet",
            found=planned.waits or ", ".join(target for target in planned.needs.values() if target.startswith("trial:")),
            next=f"sweep launch {name}, which runs what it needs first",
        )
    if pdb and planned.shape.processes > 1:
        raise UsageError(
            "a debugger works in one process, and this trial has several", found=f"{planned.shape.processes} processes",
            next="add resources.gpus=1 (without GPUs: leave execution.ranks out)",
        )  # fmt: skip
    planning.require(replace(plan, missing=tuple(planning.missing(definition, [(planned, "new")]))))
    planned = planning.with_revisions(definition, [planned])[0]
    if steps is not None:
        with tempfile.TemporaryDirectory(prefix="sweep-run-") as folder:
            return _perform(Workspace.open(Path(folder) / "runs", create=True), _short(planned, steps), definition.code, pdb)
    return _perform(Workspace.open(root, create=True), planned, definition.code, pdb)


def _one(plan: planning.Plan) -> PlannedTrial:
    if plan.search is not None and plan.definition.space is not None:
        probe = plan.search.probes[0].cell
        names = [".".join(path) for parameter in plan.definition.space.parameters for path in parameter.paths]
        paths = [*dict.fromkeys([*names, *probe])]
        raise UsageError(
            "`sweep run` trains one cell; this definition searches for cells",
            allowed="fix these paths: " + ", ".join(paths),
            next="sweep run DEF " + " ".join(f"{path}={value}" for path, value in probe.items()),
        )
    cells = {tuple(sorted((k, str(v)) for k, v in p.cell.items())): p for p, _ in reversed(plan.trials) if p.stage is None}
    if len(cells) != 1:
        axes = {path: sorted({str(p.cell[path]) for p in cells.values() if path in p.cell}) for p in cells.values() for path in p.cell}
        raise UsageError(
            f"`sweep run` trains one cell; {len(cells)} are left",
            allowed="fix these paths: " + "; ".join(f"{path}={'|'.join(values)}" for path, values in axes.items()),
            next="sweep run DEF " + " ".join(f"{path}={values[0]}" for path, values in axes.items()),
        )
    return next(iter(cells.values()))


def _short(planned: PlannedTrial, steps: int) -> PlannedTrial:
    config = dict(planned.config)
    if config.get("rehearsal"):
        config["rehearsal"] = {**config["rehearsal"], "steps": steps}
    else:
        config["train"] = {**config["train"], "epochs": None, "pairs": None, "tokens": None, "steps": steps}
    return replace(planned, id=trial_id(TrialConfig.model_validate(config)), config=config, evaluate=())


def _perform(workspace: Workspace, planned: PlannedTrial, code: Sequence[Path], pdb: bool) -> int:
    trial = workspace.trial(planned.id)
    print(f"trial {planned.id[:10]}  {cell_name(planned.cell)}  seed {planned.seed}")
    if planned.config.get("rehearsal"):
        print("REHEARSAL: a tiny random model, generated data; no number here is a result")
    status = Reader(workspace).trial(trial)
    if status.state == "completed":
        print("its result stands already; nothing to train")
    elif not status.claimable:
        raise UsageError(f"the trial cannot be taken: {status.reason}", found=status.state, next=f"sweep explain {planned.id[:10]}")
    place = Place(
        worker=f"run-{os.getpid()}", device="cuda" if gpus_here() else "cpu",
        threads=cores_here(), code=tuple(code),
    )  # fmt: skip
    if status.claimable:
        attempt = take(workspace, Work("train", status, planned), place)
        if attempt is None:
            raise UsageError("a worker has just taken this trial", found=planned.id[:10], next=f"sweep explain {planned.id[:10]}")
        failed = _with_debugger(lambda: perform(workspace, Work("train", status, planned), attempt, place, echo=_echo, debug=pdb), pdb)
        if failed:
            return 1
    for entry in planned.evaluate:
        key = trial_key(planned, entry)
        scoring = trial.scoring(key)
        status = Reader(workspace).scoring(scoring)
        work = Work("score", status, planned, key=key, evaluate=entry)
        attempt = take(workspace, work, place) if status.claimable else None
        if attempt is not None and perform(workspace, work, attempt, place, echo=_echo, debug=pdb):
            return 1
        if scoring.summary.exists():
            summary = read_json(scoring.summary)
            shown = ", ".join(f"{k} {v:.2f}" for k, v in summary["metrics"].items() if v is not None)
            print(f"{summary['benchmark']} ({summary['revision']}, {summary['n']} examples): {shown}")
    return 0


def _with_debugger(work: Any, pdb: bool) -> int:
    try:
        return int(work())
    except Exception:
        if not pdb:
            raise
        debugger.post_mortem(sys.exc_info()[2])
        return 1


def _echo(line: dict[str, Any]) -> None:
    """One journal line as a person reads it."""
    kind = line["kind"]
    if kind == "metrics":
        values = "  ".join(f"{name} {value:.4g}" for name, value in line["values"].items() if value is not None)
        text = f"step {line['step']:>5}  {line['group']:<10}  {values}"
    elif kind == "checkpoint":
        text = f"step {line['step']:>5}  checkpoint  {line['folder']}"
    elif kind == "ended":
        text = f"{line['state']}" + (f": {line['message']}" if line.get("message") else "")
    elif kind == "score":
        text = f"scored {line['done']}/{line['total']}"
    else:
        return
    print(text[: max(60, shutil.get_terminal_size().columns)] if sys.stdout.isatty() else text, flush=True)
