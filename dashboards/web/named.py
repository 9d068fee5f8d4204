"""What a name of ``sweep compare`` stands for, while a page shows it: a cell, an ensemble, a sweep or a trial, with scores and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.analysis.outcomes import TrialOutcome
from core.definition.plan import with_commas
from dashboards.web.answers import Named
from dashboards.web.data import Data, Pending
from dashboards.web.examples import Behind, Scored, scored, table_of, texts

ENSEMBLE = "ensemble="
"""How the name of an ensemble begins, behind that of its sweep."""


def name_of(sweep: str, cell: str) -> str:
    """The name of a sweep's cell, or of its ensemble."""
    return f"{sweep}:{cell if cell.startswith(ENSEMBLE) else with_commas(cell)}"


def version_of(data: Data, names: Iterable[str]) -> tuple[str, ...]:
    """Changes whenever there is anything new of the sweeps that the names are of; a trial may be of any."""
    known = [sweep.id for sweep in data.workspace.sweeps()]
    wanted: set[str] = set()
    for name in names:
        sweep = name.partition(":")[0].partition("@")[0]
        wanted |= {id for id in known if id in (sweep, f"{sweep}-rehearsal")} or set(known)
    return tuple(f"{id} {data.browser.version(id, points=False)}" for id in sorted(wanted))


def look_up(data: Data, name: str, patience: float = 5.0) -> Named | None:
    """What a name stands for; ``None`` while it is being worked out.

    Raises:
        SweepError: it stands for nothing.
    """
    found = data.soon(("named", name), version_of(data, [name]), lambda: data.answers.named(name), patience=patience)
    return None if isinstance(found, Pending) else found


def scores_of(data: Data, named: Named, trial: TrialOutcome, key: str) -> Mapping[str, Scored]:
    """The examples of a scoring with the scores of a trial, or of a replicate of an ensemble.

    Raises:
        IntegrityError: the table is missing or damaged.
    """
    made = named.tables.get((trial.id, key))
    return scored(made if made is not None else table_of(data, trial.id, key))


def behind(data: Data, named: Named, trial: TrialOutcome, benchmark: str) -> Behind:
    """The texts of a benchmark's examples; an ensemble's are those of the first member that was scored on it."""
    for one in named.members.get(trial.id, [trial]):
        key = next((str(scoring.key) for scoring in one.scorings if scoring.benchmark == benchmark and scoring.key), None)
        sweeps = data.browser.sweeps_of(one.id)
        planned = data.planned(sweeps[0], one.id) if sweeps and key is not None else None
        if key is not None and planned is not None:
            return one.id, key, texts(data, planned, key)
    return trial.id, "", "no sweep asks for this trial any more"


def link(named: Named, trial: TrialOutcome, sweep: str) -> dict[str, Any]:
    """A trial, or a replicate of an ensemble of a sweep, as a page links it."""
    if trial.id not in named.members:
        return {"text": trial.id[:10], "id": trial.id, "ensemble": None}
    name = str(trial.cell["ensemble"])
    return {"text": name, "id": None, "ensemble": {"sweep": sweep, "name": name, "seed": trial.seed}}
