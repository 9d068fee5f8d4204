"""``status``, ``list``, ``show``, ``explain`` and ``logs``: what is, and why."""

from __future__ import annotations

import json as jsonlib
import re
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from core.control.canary import as_json, measured
from core.control.decide import SweepState
from core.control.derive import AttemptView, UnitStatus
from core.control.policy import ADVICE
from core.control.ports import Job, JobAnswer
from core.control.read import Reader
from core.control.states import TRIAL_STATES
from core.control.tick import SweepReader, trial_key
from core.definition.ensembles import Ensemble
from core.definition.plan import PlannedTrial, cell_name
from core.errors import UsageError
from core.workspace import holds, nodes
from core.workspace.files import MANIFEST, read_json
from core.workspace.growth import GrowthLog
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import Revision, newest, resolve
from core.workspace.requests import asked
from sweeps.cli.common import JsonOption, SweepArgument, WorkspaceOption, find_trial, hint, open_workspace, print_json, say, table

OF_EXPLAIN = ("scheduler", "holding")
"""Facts that `sweep explain` tells, and `sweep show` does not."""
TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="The first digits of a trial's id.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(status)
    app.command(name="list")(list_sweeps)
    app.command()(show)
    app.command()(explain)
    app.command()(logs)


def _state(workspace: Workspace, revision: Revision) -> SweepState:
    from sweeps import wiring

    return wiring.reader(workspace, revision).state()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in TRIAL_STATES if counts.get(state)) or "none"


def status(sweep: SweepArgument, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Show every trial of a sweep with its state."""
    from sweeps import wiring
    from sweeps.existing import Existing, flags_of

    place = open_workspace(workspace)
    revision = resolve(place, sweep)
    reader = wiring.reader(place, revision)
    state = reader.state()
    found = measured(trial.train for trial in state.trials)
    existing = Existing(place, revision.code())
    rows = [
        {
            "id": t.planned.id, "cell": dict(t.planned.cell), "seed": t.planned.seed, "state": t.train.state,
            "attempts": t.train.attempts, "cause": t.train.cause, "flags": flags_of(existing, t), "reason": t.train.reason,
            "scorings": {key: s.state for key, s in t.scorings.items()},
            **({"stage": t.planned.stage} if t.planned.stage is not None else {}),
        }
        for t in state.trials
    ]  # fmt: skip
    from sweeps import rules

    if state.search is not None:
        from sweeps.search_words import lines, state_json

    derived = _ensembles(place, revision, state)
    if json:
        print_json(
            {
                "sweep": revision.sweep.id, "revision": revision.number, "rehearsal": revision.rehearsal, "counts": state.counts(),
                "stages": state.stage_counts(),
                "scorings": state.score_counts(), "workers": sum(1 for job, a in state.jobs if a.alive and job.left is None),
                "jobs": [
                    {"key": job.key, "alive": a.alive, "started": job.started, "slots": job.slots, "gpus": job.gpus, "says": a.evidence}
                    for job, a in _open_jobs(state)
                ],
                "held": state.held, "canary": as_json(reader.canaries, found),
                "search": state_json(state.search) if state.search is not None else None,
                "seeds": rules.state_json(state.seeds) if state.seeds is not None else None,
                "ensembles": derived, "trials": rows,
            }
        )  # fmt: skip
        return 0
    say(f"{revision.sweep.id}@{revision.number}" + ("  REHEARSAL" if revision.rehearsal else "") + ("  HELD" if state.held else ""))
    varied = list(dict.fromkeys(path for t in state.trials for path in t.planned.cell))
    table(
        ["trial", *varied, "seed", "state", "attempts", "step", "note"],
        [
            [
                t.planned.id[:10], *(t.planned.cell.get(path, "") for path in varied), t.planned.seed, t.train.state, t.train.attempts,
                _step(t.train), " ".join([*flags_of(existing, t), t.train.cause or ""]).strip(),
            ]
            for t in state.trials
        ],
    )  # fmt: skip
    say()
    stages = f"    stages: {_counts(state.stage_counts())}" if state.stage_counts() else ""
    for line in lines(state.search) if state.search is not None else ():
        say(line)
    for line in rules.lines(state.seeds) if state.seeds is not None else ():
        say(line)
    say(f"trials: {_counts(state.counts())}{stages}    scorings: {_counts(state.score_counts())}")
    if derived:
        from sweeps.ensembles import lines as ensemble_lines

        for line in ensemble_lines(derived):
            say(line)
    for reason, count in Counter(t.train.reason for t in state.trials if t.train.state == "blocked").items():
        say(f"blocked: {count}, {reason}")
    for says, count in Counter(_without_id(answer.evidence) for job, answer in _open_jobs(state) if answer.evidence).items():
        say(f"workers: {count}, {says}")
    if found is not None:
        whole = f", at most {found.trial_seconds / 60:.3g} min a trial" if found.trial_seconds is not None else ""
        say(f"measured: {found.step_seconds:.3g} s a step, {found.memory_gib:.3g} GiB at the peak{whole} ({found.trials} trials)")
    if not reader.canaries.passed:
        say(f"{len(reader.canaries.trials)} canaries go first; --no-canary at the next launch lets all go")
    failed = [t for t in state.trials if t.train.state == "failed"]
    if failed:
        say(f"next: sweep explain {failed[0].planned.id[:10]}")
    return 0


def _ensembles(workspace: Workspace, revision: Revision, state: SweepState) -> list[dict[str, Any]]:
    """The sweep's ensembles with the states of their members, and what they wait for."""
    asked_for = [Ensemble.from_json(value) for value in revision.meta.get("ensembles", [])]
    if not asked_for:
        return []
    from sweeps.ensembles import Plans, as_json

    states = {trial.planned.id: trial.train.state for trial in state.trials}
    plans = Plans([trial.planned for trial in state.trials], workspace, revision.rehearsal)
    return as_json(asked_for, plans, lambda planned: states[planned.id])


def _open_jobs(state: SweepState) -> list[tuple[Job, JobAnswer]]:
    """Workers that are there or queued, and those that wait for somebody's hand."""
    return [(job, answer) for job, answer in state.jobs if job.left is None and answer.ended is None]


def _without_id(says: str) -> str:
    return re.sub(r" for job \d+(_\d+)?", "", says)


def _step(status: UnitStatus) -> str:
    progress = status.last.progress if status.last is not None else None
    return f"{progress['step']}/{progress['total']}" if progress else ""


def list_sweeps(workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """List the sweeps of the workspace, the newest last."""
    place = open_workspace(workspace)
    rows: list[dict[str, Any]] = []
    for sweep in place.sweeps():
        revision = newest(sweep)
        assert revision is not None
        state = _state(place, revision)
        rows.append(
            {
                "sweep": sweep.id, "name": revision.meta["name"], "project": revision.meta["project"], "revision": revision.number,
                "rehearsal": revision.rehearsal, "created": revision.meta["created"], "by": revision.meta["by"],
                "trials": sum(state.counts().values()), "counts": state.counts(), "scorings": state.score_counts(),
            }
        )  # fmt: skip
    rows.sort(key=lambda row: float(row["created"]))
    if json:
        print_json(rows)
        return 0
    if not rows:
        say("no sweep has been launched in this workspace")
    table(
        ["sweep", "revision", "project", "launched", "by", "trials", "states"],
        [[r["sweep"], r["revision"], r["project"], _clock(r["created"]), r["by"], r["trials"], _counts(r["counts"])] for r in rows],
    )
    return 0


def _clock(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _planned(workspace: Workspace, trial: Trial, sweep: str) -> PlannedTrial | None:
    revision = newest(workspace.sweep(sweep)) if sweep else None
    return next((p for p in revision.plan() if p.id == trial.id), None) if revision is not None else None


def _sweep_reader(workspace: Workspace, sweep: str) -> SweepReader | None:
    """A reader of the sweep that knows the scheduler's answers for its workers; ``None`` without a sweep."""
    revision = newest(workspace.sweep(sweep)) if sweep else None
    if revision is None:
        return None
    from sweeps import wiring

    reader = wiring.reader(workspace, revision)
    reader.state()
    return reader


def _facts(workspace: Workspace, trial: Trial, sweep: str) -> dict[str, Any]:
    planned = _planned(workspace, trial, sweep)
    swept = _sweep_reader(workspace, sweep)
    reader = swept.reader if swept is not None else Reader(workspace)
    holding = (swept.workspace if swept is not None else workspace).holding
    held = bool(holding)
    status = swept.trial(planned, held).train if swept is not None and planned is not None else reader.trial(trial, held=held)
    result = read_json(trial.result / "metrics.json") if (trial.result / MANIFEST).exists() else None
    scores = {}
    for summary in sorted((trial.folder / "scores").glob("*/summary.json")):
        value = read_json(summary)
        scores[f"{value['benchmark']} ({value['revision']})"] = value
    config = dict(planned.config) if planned is not None else (read_json(trial.config) if trial.config.exists() else {})
    return {
        "id": trial.id, "sweep": sweep or None, "cell": dict(planned.cell) if planned else None, "seed": config.get("seed"),
        "state": status.state, "reason": status.reason, "cause": status.cause, "config": config,
        "attempts": [_attempt(a) for a in reader.attempts(trial)], "result": result, "scores": scores, "folder": str(trial.folder),
        "scorings": _scorings(workspace, reader, trial, planned),
        "sweeps": _sweeps_of(workspace, trial.id), "remedy": status.remedy.words, "added": _added(workspace, trial, sweep),
        "scheduler": _scheduler_says(swept, status), "holding": [f"{file} ({holds.words(file)})" for file in holding],
    }  # fmt: skip


def _scheduler_says(swept: SweepReader | None, status: UnitStatus) -> list[str]:
    """What the scheduler says of the worker that an open attempt runs in, or of those that a waiting trial waits for."""
    if swept is None or status.state not in ("pending", "running", "unknown"):
        return []
    says = [swept.scheduler.trouble] if swept.scheduler is not None and swept.scheduler.trouble else []
    job = status.last.owner.get("job") if status.last is not None and status.state != "pending" else None
    mine = [answer for one, answer in swept.polled if (one.key == job if job else one.left is None and answer.ended is None)]
    counted = Counter(answer.evidence if job else _without_id(answer.evidence) for answer in mine if answer.evidence not in ("", *says))
    return says + [text if job else f"{count} worker{'s' if count > 1 else ''}: {text}" for text, count in counted.items()]


def _added(workspace: Workspace, trial: Trial, sweep: str) -> str | None:
    """Why its sweep has gained the trial after its launch; ``None`` for one that was planned at launch."""
    from sweeps.search_words import why_of

    revision = newest(workspace.sweep(sweep)) if sweep else None
    if revision is None or revision.family is None:
        return None
    log = GrowthLog(revision.sweep, revision.family)
    return why_of(log.refresh(), trial.id)


def _scorings(workspace: Workspace, reader: Reader, trial: Trial, planned: PlannedTrial | None) -> list[dict[str, Any]]:
    """Each scoring that the trial's sweep asks for, with its last attempt."""
    wish = asked(trial)
    found = []
    for entry in planned.evaluate if planned is not None else ():
        key = trial_key(planned, entry) if planned is not None else ""
        blocked = None if (trial.result / MANIFEST).exists() else "its training"
        status = reader.scoring(trial.scoring(key), blocked=blocked, wish=wish.of_scoring(key))
        message = status.last.message if status.last is not None else None
        name = {"benchmark": entry["benchmark"]["name"], "revision": entry["revision"], "key": key}
        found.append(name | {"state": status.state, "attempts": status.attempts, "cause": status.cause, "message": message})
    return found


def _attempt(view: AttemptView) -> dict[str, Any]:
    owner = view.owner
    return {
        "number": view.number, "state": view.state, "cause": view.cause, "message": view.message, "steps": view.steps,
        "checkpoint": view.checkpoint, "host": owner.get("host"), "pid": owner.get("pid"), "job": owner.get("job"),
        "evidence": view.evidence, "before": owner.get("evidence"), "last": view.last, "node": owner.get("node"),
        "changed": (view.started or {}).get("changed") or {},
    }  # fmt: skip


def _sweeps_of(workspace: Workspace, id: str) -> list[str]:
    found = []
    for sweep in workspace.sweeps():
        revision = newest(sweep)
        if revision is not None and any(p.id == id for p in revision.plan()):
            found.append(sweep.id)
    return found


def show(trial: TrialArgument, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Show one trial: configuration, attempts, metrics and scores."""
    place = open_workspace(workspace)
    facts = _facts(place, *find_trial(place, trial))
    if json:
        print_json({name: value for name, value in facts.items() if name not in OF_EXPLAIN})
        return 0
    say(f"trial {facts['id']}" + _rehearsal(facts))
    say(f"{cell_name(facts['cell'] or {})}, seed {facts['seed']}: {facts['state']} ({facts['reason']})")
    say(f"in: {', '.join(facts['sweeps']) or 'no sweep'}    folder: {facts['folder']}")
    say()
    _print_attempts(facts["attempts"])
    if facts["result"]:
        say()
        table(["metric", "value"], [[k, f"{v:.4g}"] for k, v in facts["result"]["metrics"].items() if v is not None])
    for name, summary in facts["scores"].items():
        say()
        rows = [[k, "-" if v is None else f"{v:.2f}"] for k, v in summary["metrics"].items()]
        table([f"{name}, {summary['n']} examples", "%"], rows)
    say()
    table(["path", "value"], _flat(facts["config"]))
    return 0


def _rehearsal(facts: dict[str, Any]) -> str:
    return "  REHEARSAL: no number here is a result" if facts["config"].get("rehearsal") else ""


def _print_attempts(attempts: list[dict[str, Any]]) -> None:
    table(
        ["attempt", "state", "cause", "steps", "checkpoint", "where", "message"],
        [
            [a["number"], a["state"], a["cause"], a["steps"], a["checkpoint"] or "", f"{a['host']}:{a['pid']}", a["message"] or ""]
            for a in attempts
        ],
    )


def _flat(config: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in config.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append([prefix + key, jsonlib.dumps(value) if not isinstance(value, str) else value])
    return rows


def explain(trial: TrialArgument, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Say why a trial is as it is: each attempt, its evidence and cause, and the way out."""
    place = open_workspace(workspace)
    facts = _facts(place, *find_trial(place, trial))
    advice = ADVICE.get(facts["cause"] or "") if facts["state"] == "failed" else None
    advice = advice.replace("TRIAL", facts["id"][:10]) if advice else _advice(facts)
    if json:
        keep = ("id", "sweep", "cell", "seed", "state", "reason", "cause", "attempts", "scorings", "remedy", "added", "scheduler")
        print_json({k: facts[k] for k in keep} | {"next": advice, "requests": _requests(place.trial(facts["id"]))})
        return 0
    say(f"trial {facts['id'][:10]}  {cell_name(facts['cell'] or {})}, seed {facts['seed']}{_rehearsal(facts)}")
    say(f"it is {facts['state']}: {facts['reason']}")
    if facts["added"]:
        say(f"it was added to {facts['sweep']} after its launch: {facts['added']}")
    excluded = nodes.excluded(place)
    for attempt in facts["attempts"]:
        say()
        where = attempt["node"] or attempt["host"]
        job = f"job {attempt['job']}{_slurm_id(place, attempt['job'])}" if attempt["job"] else "no job"
        say(f"attempt {attempt['number']} on {where} (pid {attempt['pid']}, {job})")
        if attempt["before"]:
            say(f"  was allowed because the one before had ended: {attempt['before']}")
        if attempt["changed"]:
            said = ", ".join(f"execution.{name}={str(value).lower()}" for name, value in attempt["changed"].items())
            say(f"  ran with {said}, because an attempt before it ran out of GPU memory; the effective batch is the same")
        cause = f" ({attempt['cause']})" if attempt["cause"] else ""
        say(f"  {attempt['state']}{cause} after step {attempt['steps']}, newest checkpoint {attempt['checkpoint'] or 'none'}")
        if attempt["evidence"]:
            say(f"  evidence of its end: {attempt['evidence']}")
        elif attempt["last"]:
            say(f"  last sign of life at {_clock(attempt['last'])} by its own clock")
        if attempt["message"]:
            say(f"  {attempt['message']}")
        if attempt["node"] in excluded and attempt["state"] == "failed":
            say(f"  no worker is sent to {attempt['node']} for now: {excluded[attempt['node']]}")
    if facts["scheduler"]:
        say()
        for line in facts["scheduler"]:
            say(f"the scheduler: {line}")
    if facts["state"] == "pending" and facts["remedy"]:
        say()
        say(f"the next attempt takes {facts['remedy']}")
    for scoring in facts["scorings"]:
        say()
        cause = f" ({scoring['cause']})" if scoring["cause"] else ""
        say(f"scoring on {scoring['benchmark']} ({scoring['revision']}): {scoring['state']}{cause}, {scoring['attempts']} attempts")
        if scoring["state"] == "failed":
            say(f"  {scoring['message']}")
    for request in _requests(place.trial(facts["id"])):
        why = f": {request['why']}" if request.get("why") else ""
        say(f"request: {request['kind']} by {request['by']} at {_clock(request['t'])}{why}")
    if advice:
        say()
        say(f"next: {advice}")
    return 0


def _slurm_id(place: Workspace, job: str | None) -> str:
    """The scheduler's own name of a worker, for those who look it up there."""
    worker = place.jobs / job / "worker.json" if job else None
    found = read_json(worker).get("job_id") if worker is not None and worker.exists() else None
    return f", SLURM {found}" if found else ""


def _advice(facts: dict[str, Any]) -> str | None:
    id = facts["id"][:10]
    if any(scoring["state"] == "failed" for scoring in facts["scorings"]):
        return f"mend what the scoring names, then `sweep retry {id}` and launch again; nothing is trained anew"
    return {
        "cancelled": f"sweep retry {id}",
        "pruned": f"sweep retry {id}",
        "held": f"it goes on once this is gone: {', '.join(facts['holding'])}" if "HOLD" in facts["reason"] else f"sweep resume {id}",
        "unknown": f"if you know that its process is gone: sweep retry {id} --force",
        "pending": f"sweep launch or sweep tick {facts['sweep']} starts workers" if facts["sweep"] else None,
    }.get(facts["state"])


def _requests(trial: Trial) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(trial.requests.glob("[0-9]*.json"))]


def logs(
    trial: TrialArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on printing until the attempt ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Which attempt.  [default: the newest]", show_default=False)
    ] = None,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Which rank of a trial of several.")] = 0,
    workspace: WorkspaceOption = None,
) -> int:
    """Print what an attempt printed."""
    place = open_workspace(workspace)
    found, sweep = find_trial(place, trial)
    attempts = found.attempts()
    if not attempts:
        raise UsageError("this trial has not been attempted yet", found=found.id[:10], next=f"sweep explain {found.id[:10]}")
    chosen = next((a for a in attempts if attempt in (None, a.number)), None) if attempt else attempts[-1]
    if chosen is None:
        raise UsageError("no such attempt", found=attempt, allowed=[str(a.number) for a in attempts])
    file = chosen.rank_output(rank)
    if not file.exists() or not (follow or file.stat().st_size):
        ranks = sorted(int(p.stem.removeprefix("output-")) for p in chosen.folder.glob("output-*.log"))
        if rank and not file.exists():
            raise UsageError("no output of this rank", found=rank, allowed=[str(r) for r in [0, *ranks]])
        hint(f"attempt {chosen.number} has printed nothing; its output would be in {file}")
        return 0
    _print_file(file, lambda: follow and _runs(place, found, sweep, chosen.number))
    return 0


def _runs(workspace: Workspace, trial: Trial, sweep: str, number: int) -> bool:
    swept = _sweep_reader(workspace, sweep)
    views = (swept.reader if swept is not None else Reader(workspace)).attempts(trial)
    return any(view.number == number and view.state in ("running", "unknown") for view in views)


def _print_file(file: Path, goes_on: Any) -> None:
    with open(file, encoding="utf-8", errors="replace") as handle:
        while True:
            more = goes_on()
            for line in handle:
                print(line, end="", flush=True)
            if not more:
                return
            time.sleep(0.5)
