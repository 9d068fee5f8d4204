"""A trial: what it computes, how it went, what it scored, and what its mistakes look like. A damaged part says so, and hides no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.control.derive import UnitStatus
from core.control.policy import ADVICE, Policy
from core.control.read import Reader
from core.control.states import OPEN
from core.definition.plan import PlannedTrial, cell_name
from core.errors import IntegrityError, SweepError, UsageError
from core.store import Score
from core.workspace import holds
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Trial
from dashboards import plots
from dashboards.report.numbers import unit
from dashboards.web.address import Address
from dashboards.web.data import Data, flat
from dashboards.web.examples import ORDERS, examples_file, mistakes, scored, table_of, texts
from dashboards.web.figures import X_AXES, look, picture, places, series_names
from dashboards.web.site import Site, address, as_csv, attachment

TAIL = 64 * 1024
"""Bytes of a log that a page shows."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
"""What a terminal would obey: colours, cursor movements, bells."""


def trial(site: Site, request: Request) -> Response:
    """The page of a trial."""
    data, where = site.data, address(request)
    id = data.trial_id(request.path_params["trial"])
    if id != request.path_params["trial"]:
        return Response(status_code=303, headers={"Location": where.elsewhere(f"/trial/{id}")})
    sweeps = data.browser.sweeps_of(id)
    sweep = where.word("sweep", sweeps, sweeps[0] if sweeps else "")
    planned = data.planned(sweep, id) if sweep else None
    folder = data.workspace.trial(id)
    corrupt: list[str] = []

    def safely(read: Callable[[], Any], otherwise: Any, what: str) -> Any:
        """What ``read`` returns; where the files are damaged it is said, and the page goes on without."""
        try:
            return read()
        except (SweepError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"{error.message}: {error.place or error.found}" if isinstance(error, SweepError) else f"{type(error).__name__}: {error}"
            corrupt.append(f"{what}: {text}")
            return otherwise

    reader = Reader(data.workspace)
    status = safely(lambda: _status(data, folder, sweep), None, "its state")
    attempts = safely(lambda: reader.attempts(folder), [], "its attempts")
    for attempt in attempts:
        if attempt.message is not None and attempt.message.startswith("owner.json"):
            corrupt.append(f"attempt {attempt.number}: {attempt.message}")
    config = safely(lambda: _config(folder, planned), {}, "its configuration")
    result = safely(lambda: read_json(folder.result / "metrics.json") if (folder.result / MANIFEST).exists() else None, None, "its result")
    scores = data.index.scores([id]).get(id, [])
    failed = status is not None and status.state == "failed"
    values: dict[str, Any] = {
        "title": f"Trial {id[:10]}", "id": id, "sweep": sweep, "sweeps": sweeps, "planned": planned, "train": status, "attempts": attempts,
        "advice": ADVICE.get(status.cause or "", "").replace("TRIAL", id[:10]).split("`") if status is not None and failed else [],
        "said": attempts[-1].message if attempts and failed else None,
        "config": _differences(site, sweep, planned, config), "only_set": where.word("config", ("differs", "all"), "differs") == "differs",
        "result": result, "scores": scores,
        "name": cell_name(planned.cell) if planned is not None else "", "seed": config.get("seed"),
        "link": data.run_links(sweep).get(id) if sweep else None,
        "series": safely(lambda: series_names(data, [id]), [], "its points"), "x_axes": X_AXES, "orders": ORDERS,
    }  # fmt: skip
    values["log"] = safely(lambda: _log(folder, where), None, "its log")
    values["examples"] = safely(lambda: _examples(site, where, id, planned, scores), None, "its score table")
    version = f"{status.state if status is not None else 'corrupt'}-{[(a.number, a.state, a.steps) for a in attempts]}-{len(scores)}"
    return site.page(request, "trial.html", version=version, corrupt=list(dict.fromkeys(corrupt)), **values)


def _status(data: Data, folder: Trial, sweep: str) -> UnitStatus:
    """What the folder says; of a trial that is open, what control has derived from all that it waits for, if nothing has begun since."""
    workspace, policy = data.workspace, Policy()
    if sweep:
        revision = data.revision(sweep)
        workspace, policy = holds.of(workspace, revision.sweep), Policy.read(revision.meta)
    status = Reader(workspace, policy=policy).trial(folder, held=workspace.held)
    recorded = data.browser.recorded(folder.id)
    if recorded is not None and status.state in OPEN and recorded[0] in OPEN and recorded[2] == status.attempts:
        return replace(status, state=recorded[0], reason=recorded[1])
    return status


def _config(folder: Trial, planned: PlannedTrial | None) -> dict[str, Any]:
    if folder.config.exists():
        found = read_json(folder.config)
        if not isinstance(found, dict):
            raise IntegrityError("not a configuration", place=folder.config)
        return found
    return dict(planned.config) if planned is not None else {}


def _differences(site: Site, sweep: str, planned: PlannedTrial | None, config: dict[str, Any]) -> list[tuple[str, str, str | None, bool]]:
    """(path, value, the value of most trials where it differs, whether the grid varies it)."""
    usual = site.data.plan(site.data.revision(sweep)).usual if sweep else {}
    varied = planned.cell if planned is not None else {}
    return [(path, text, usual.get(path) if usual.get(path, text) != text else None, _varies(path, varied)) for path, text in flat(config)]


def _varies(path: str, cell: Any) -> bool:
    return any(path == part.strip() or path.startswith(f"{part.strip()}.") for axis in cell for part in axis.split(","))


def _log(folder: Trial, where: Address) -> dict[str, Any] | None:
    attempts = folder.attempts()
    if not attempts:
        return None
    number = where.number("attempt", attempts[-1].number, 1, 9999)
    chosen = next((attempt for attempt in attempts if attempt.number == number), None)
    if chosen is None:
        raise UsageError("no such attempt", found=number, allowed=[str(attempt.number) for attempt in attempts])
    logs = log_files(chosen.folder)
    name = where.word("log", logs, "output.log" if "output.log" in logs else next(iter(logs), ""))
    text, size = tail(logs[name]) if name else ("", 0)
    return {
        "attempt": number,
        "attempts": [attempt.number for attempt in attempts],
        "name": name,
        "names": list(logs),
        "text": text,
        "size": size,
        "cut": size > TAIL,
    }


def log_files(folder: Path) -> dict[str, Path]:
    """The logs of an attempt by name: listed, so that no address names another file, and no link leads out."""
    return {file.name: file for file in sorted(folder.glob("output*.log")) if file.is_file() and not file.is_symlink()}


def tail(path: Path) -> tuple[str, int]:
    """The end of a log without what a terminal would obey, and the size of the whole in bytes."""
    with open(path, "rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - TAIL))
        content = handle.read(TAIL)
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return CONTROL.sub("", text), size


def log(site: Site, request: Request) -> Response:
    """A whole log as a file to keep."""
    id, where = site.data.trial_id(request.path_params["trial"]), address(request)
    attempts = {attempt.number: attempt for attempt in site.data.workspace.trial(id).attempts()}
    number = where.number("attempt", max(attempts, default=0), 0, 9999)
    logs = log_files(attempts[number].folder) if number in attempts else {}
    name = where.word("log", logs, next(iter(logs), ""))
    if not name:
        raise UsageError("this trial has no such log", found=number)
    return attachment(logs[name].read_bytes(), "text/plain; charset=utf-8", f"{id[:10]}-{number}-{name}")


def _examples(site: Site, where: Address, id: str, planned: PlannedTrial | None, scores: list[Score]) -> dict[str, Any] | None:
    """The examples of one scoring in the order that is asked for, a few at a time."""
    if not scores:
        return None
    known = {score.key: f"{score.benchmark} ({score.revision})" for score in scores}
    asked = where.text("benchmark")
    key = where.word("scoring", known, next((score.key for score in scores if score.benchmark == asked), scores[0].key))
    behind = texts(site.data, planned, key) if planned is not None else "no sweep asks for this trial any more"
    return mistakes(where, scored(table_of(site.data, id, key)), known, key, (id, key, behind))


def examples_csv(site: Site, request: Request) -> Response:
    """All examples of a scoring with their scores."""
    id, where = site.data.trial_id(request.path_params["trial"]), address(request)
    known = [score.key for score in site.data.index.scores([id]).get(id, [])]
    key = where.word("scoring", known, known[0] if known else "")
    if not key:
        raise UsageError("this trial has not been scored yet", found=id[:10])
    return examples_file(where, scored(table_of(site.data, id, key)), f"{id[:10]}-examples")


def plot(site: Site, request: Request) -> Response:
    """One curve of a trial as SVG, PNG or CSV."""
    data, where = site.data, address(request)
    id = data.trial_id(request.path_params["trial"])
    known = series_names(data, [id])
    metric = where.word("metric", known, known[0] if known else "")
    x, format = where.word("x", X_AXES, "step"), where.word("as", ("svg", "png", "csv"), "svg")
    points = data.index.series(id, metric) if metric else []
    at = places(data, id, points, x) if points else []
    name = f"{id[:10]}-{metric.replace('/', '-')}"
    if format == "csv":
        return as_csv(
            [x, metric, "step", "attempt"],
            [[place, point.value, point.step, point.attempt] for place, point in zip(at, points, strict=True)],
            name,
        )
    wanted = look(where, format)
    key = ("trial", id, metric, x, format, str(wanted), str(points[-1].t if points else 0))
    content = site.pictures.get(
        key,
        lambda: plots.curves(
            [plots.Curve(id[:10], at, [point.value for point in points])], wanted, x_label=X_AXES[x], y_label=unit(metric)
        ),
    )
    return picture(content, format, name=f"{name}.{format}", download=where.flag("save"))
