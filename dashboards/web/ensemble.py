"""An ensemble: its members, its scores by group, and what its mistakes look like."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.analysis.outcomes import TrialOutcome
from core.definition.plan import cell_name
from core.errors import IntegrityError, UsageError
from dashboards.web.answers import Named
from dashboards.web.examples import ORDERS, examples_file, mistakes
from dashboards.web.named import ENSEMBLE, behind, look_up, name_of, scores_of
from dashboards.web.site import Site, address


def ensemble(site: Site, request: Request) -> Response:
    """The page."""
    data, where = site.data, address(request)
    sweep = data.revision(where.text("sweep")).sweep.id
    name = where.text("name")
    full = name_of(sweep, f"{ENSEMBLE}{name}")
    named = look_up(data, full)
    values: dict[str, Any] = {
        "title": f"Ensemble {name}", "name": name, "sweep": sweep, "full": full, "orders": ORDERS, "waiting": named is None,
        "replicates": [], "trial": None, "members": [], "examples": None, "corrupt": [],
    }  # fmt: skip
    version = f"{data.browser.version(sweep, points=False)}-{named is None}"
    if (nothing := site.still_right(request, version)) is not None:
        return nothing
    if named is None:
        return site.page(request, "ensemble.html", version=version, **values)
    replicates = {trial.seed: trial for side in named.sides for trial in side.trials}
    seed = where.number("seed", min(replicates))
    if seed not in replicates:
        raise UsageError("no such seed", found=seed, allowed=[str(one) for one in replicates])
    trial = replicates[seed]
    known = {str(scoring.key): f"{scoring.benchmark} ({scoring.revision})" for scoring in trial.scorings}
    if where.flag("csv"):
        return _file(site, request, named, trial)
    members = [(one, cell_name(one.cell), next(iter(data.browser.sweeps_of(one.id)), "")) for one in named.members.get(trial.id, ())]
    values |= {"replicates": list(replicates), "trial": trial, "members": members}
    if known:
        chosen = _chosen(site, request, trial)
        benchmark = next(scoring.benchmark for scoring in trial.scorings if str(scoring.key) == chosen)
        try:
            found, texts = scores_of(data, named, trial, chosen), behind(data, named, trial, benchmark)
            values["examples"] = mistakes(where, found, known, chosen, texts)
        except IntegrityError as error:
            values["corrupt"] = [f"{error.message}: {error.place}"]
    return site.page(request, "ensemble.html", version=version, **values)


def _chosen(site: Site, request: Request, trial: TrialOutcome) -> str:
    """The key of the scoring that is asked for, by key or by benchmark; the first otherwise."""
    where = address(request)
    keys = {str(scoring.key): scoring.benchmark for scoring in trial.scorings}
    asked = where.text("benchmark")
    return where.word("scoring", keys, next((key for key, benchmark in keys.items() if benchmark == asked), next(iter(keys), "")))


def _file(site: Site, request: Request, named: Named, trial: TrialOutcome) -> Response:
    key = _chosen(site, request, trial)
    if not key:
        raise UsageError("this ensemble has no scores yet", found=trial.reason or trial.id)
    where = address(request)
    return examples_file(where, scores_of(site.data, named, trial, key), f"ensemble-{where.text('name').replace('/', '-')}-examples")
