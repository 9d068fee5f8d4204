"""Joins outcomes and reported numbers into the ablation table (pure, no I/O).

What may be compared is decided here, once, for every format. The difference to a reported number is taken only in a real run,
on the same revision of the benchmark, over all of its examples, and where nobody marked the number as not comparable. The best
cell of a column is marked only where all of its cells were scored on the same data, and whether it is better beyond chance is left to
:mod:`core.analysis.best`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.analysis.ablation import ablate
from core.analysis.best import over_examples, rate_best
from core.analysis.claims import judge
from core.analysis.ensembles import EnsembleOutcome, finished, rate, with_disagreement
from core.analysis.gates import Gate, mark
from core.analysis.intervals import CONFIDENCE, Interval, Progress, mean_and_spread, student
from core.analysis.outcomes import BaselineOutcome, ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome
from core.analysis.report import OWN, Report, Row, Value, adjust, direction, is_percent, with_values
from core.analysis.sanity import inspect
from core.analysis.sequential import Added, Rule, Standing, confidence
from core.analysis.verdicts import Claim
from core.definition.plan import cell_name
from core.evaluation.credits import Credits

HEADLINES = ("overall", "macro", "acc", "acc_plus", "accuracy")
"""Metrics that a table shows unless others are asked for (a name is a headline if its part after the benchmark begins with one)."""


def build_report(
    sweep: str,
    trials: Sequence[TrialOutcome],
    *,
    rehearsal: bool,
    baselines: Sequence[BaselineOutcome] = (),
    reported: Sequence[ReportedRow] = (),
    published: Mapping[str, str | None] | None = None,
    order: Sequence[str] = (),
    objective: str | None = None,
    credits: Sequence[Credits] = (),
    claims: Sequence[Claim] = (),
    gates: Mapping[str, Gate] | None = None,
    ensembles: Sequence[EnsembleOutcome] = (),
    rule: Rule | None = None,
    standings: Sequence[Standing] = (),
    progress: Progress | None = None,
) -> Report:
    """The table of a sweep.

    Args:
        sweep: its name.
        trials: all of them, in the order of the plan; replicates of a cell are joined.
        rehearsal: whether these are a rehearsal's: nothing is subtracted then.
        baselines: scorers without a model.
        reported: what papers printed.
        published: revision of each benchmark that published numbers refer to, where a value does not say it itself.
        order: metrics by full name, as the definition and its benchmarks list them; what papers print stands before them.
        objective: the metric that the study selects by.
        credits: of the score tables of trials and ensembles, by trial id: intervals and tests by example follow from them.
        claims: what the study is meant to show.
        gates: bounds beyond which a cell is not to be promoted.
        ensembles: derived rows, as far as they have come.
        rule: what has added seeds, if a rule has: intervals and tests then hold although it has looked.
        standings: where each cell stands under it.
        progress: told how many values have got their interval over examples.
    """
    cells: dict[str, list[TrialOutcome]] = {}
    for trial in trials:
        cells.setdefault(cell_name(trial.cell), []).append(trial)
    found = {name: [row for row in reported if row.cell == replicates[0].cell] for name, replicates in cells.items()}
    match = _Comparison(rehearsal, published or {})
    rows = [_cell_row(name, replicates, found[name], match, confidence(rule)) for name, replicates in cells.items()]
    derived = [_ensemble_row(one, reported, match, confidence(rule)) for one in ensembles]
    metrics = _ordered_metrics([*rows, *derived], reported, baselines, order)
    rows, notes = _mark_best(rows, metrics)
    columns = default_columns(metrics, reported)
    rows, few = over_examples(rows, cells, credits, progress)
    rows, untested = rate_best(rows, cells, credits, rule)
    derived, single = rate(derived, ensembles, credits, progress)
    few = {**single, **few}
    sanity = with_disagreement(inspect({**cells, **{one.name: one.trials for one in ensembles}}, credits), ensembles, credits)
    rows, untried = mark([*rows, *derived], gates or {}, sanity)
    notes += untried
    notes += [found[metric] for found in (few, untested) for metric in columns if metric in found]
    rows += [_baseline_row(baseline) for baseline in baselines]
    rows += _reported_rows(reported)
    axes = tuple(dict.fromkeys(path for row in rows for path in row.cell or ()))
    added = None if rule is None else Added(rule, tuple(standings))
    notes = _notes(rows, [*(added.notes() if added is not None else ()), *notes, *_abouts(reported)], rehearsal, objective)
    about = _ablated(rows, columns, objective)
    ablation = None if about is None else ablate(about, rows, cells, rehearsal=rehearsal, credits=credits, rule=rule)
    judged = [*trials, *(trial for one in ensembles for trial in one.trials)]
    verdicts = judge(claims, judged, rehearsal=rehearsal, credits=credits, rule=rule)
    return adjust(
        Report(sweep, rehearsal, axes, metrics, columns, tuple(rows), tuple(notes), tuple(verdicts), tuple(sanity), ablation, added)
    )


def default_columns(metrics: Sequence[str], reported: Sequence[ReportedRow]) -> tuple[str, ...]:
    """Headlines that a paper reports, those of benchmarks that none reports, and the validation accuracy."""
    named = {metric for row in reported for metric in row.values}
    covered = {metric.split("/", 1)[0] for metric in named}
    columns = []
    for metric in metrics:
        benchmark, _, short = metric.partition("/")
        if not is_percent(metric):
            shown = metric == "validation/accuracy"
        else:
            shown = short.split("/", 1)[0] in HEADLINES and (metric in named or benchmark not in covered)
        if shown:
            columns.append(metric)
    return tuple(columns)


def _ablated(rows: Sequence[Row], columns: Sequence[str], objective: str | None) -> str | None:
    """The metric that the ablation is about: the first benchmark metric that is shown and has values, else the objective."""
    known = {metric for row in rows if row.kind == "cell" for metric, value in row.metrics.items() if value.mean is not None}
    candidates = [*(metric for metric in columns if is_percent(metric)), *([objective] if objective else [])]
    return next((metric for metric in candidates if metric in known), None)


@dataclass(frozen=True)
class _Comparison:
    """Decides whether a reported number may be subtracted."""

    rehearsal: bool
    published: Mapping[str, str | None]

    def allows(self, metric: str, value: Value, printed: ReportedValue) -> bool:
        """All conditions of this module's docstring."""
        if self.rehearsal or not printed.comparable or value.partial is not None:
            return False
        wanted = printed.revision or self.published.get(metric.split("/", 1)[0])
        return wanted is None or value.revision == wanted


def _cell_row(
    name: str, trials: Sequence[TrialOutcome], reported: Sequence[ReportedRow], comparison: _Comparison, confidence: float = CONFIDENCE
) -> Row:
    trials = sorted(trials, key=lambda trial: trial.seed)
    metrics = _of_one(trials[0]) if len(trials) == 1 else _of_several(trials, confidence)
    for row in reported:
        for metric, printed in row.values.items():
            value = metrics.get(metric, Value())
            if printed.value is None or value.reported is not None:
                metrics.setdefault(metric, value)
                continue
            value = replace(value, reported=printed.value, source=row.source, note=printed.note)
            if value.mean is not None and comparison.allows(metric, value, printed):
                value = replace(value, difference=value.mean - printed.value)
            metrics[metric] = value
    flags = dict.fromkeys(flag for trial in trials for flag in trial.flags)
    if any(value.partial for value in metrics.values()):
        flags["partial"] = None
    n = max([len(value.values) for value in metrics.values()], default=0)
    return Row("cell", name, dict(trials[0].cell), n, len(trials), metrics, _missing(trials, metrics), tuple(flags))


def _of_one(trial: TrialOutcome) -> dict[str, Value]:
    """The values of a cell with one replicate: most tables are made of such, and of tens of thousands of values."""
    url = (trial.run_url,)
    metrics = {}
    for scoring in trial.scorings:
        partial = (scoring.n, scoring.skipped) if scoring.skipped else None
        for short, number in scoring.metrics.items():
            value = Value()
            if number is not None and math.isfinite(number):
                value = Value(float(number), (float(number),), url, revision=scoring.revision, partial=partial)
            metrics[f"{scoring.benchmark}/{short}"] = value
    for metric, number in trial.metrics.items():
        metrics[metric] = Value(float(number), (float(number),), url) if number is not None and math.isfinite(number) else Value()
    return metrics


def _of_several(trials: Sequence[TrialOutcome], confidence: float) -> dict[str, Value]:
    """The values of a cell, its replicates joined."""
    collected: dict[str, list[tuple[float, str | None, ScoringOutcome | None]]] = {}
    for trial in trials:
        for metric, number, scoring in _values(trial):
            entries = collected.setdefault(metric, [])
            if number is not None and math.isfinite(number):
                entries.append((number, trial.run_url, scoring))
    return {metric: _value(entries, confidence, _most(metric)) for metric, entries in collected.items()}


def _ensemble_row(outcome: EnsembleOutcome, reported: Sequence[ReportedRow], comparison: _Comparison, confidence: float) -> Row:
    printed = [row for row in reported if row.ensemble == outcome.name]
    return finished(_cell_row(outcome.name, outcome.trials, printed, comparison, confidence), outcome)


def _values(trial: TrialOutcome) -> Iterable[tuple[str, float | None, ScoringOutcome | None]]:
    for scoring in trial.scorings:
        for short, number in scoring.metrics.items():
            yield f"{scoring.benchmark}/{short}", number, scoring
    for metric, number in trial.metrics.items():
        yield metric, number, None


def _value(
    entries: Sequence[tuple[float, str | None, ScoringOutcome | None]], confidence: float = CONFIDENCE, most: float | None = None
) -> Value:
    """Join the replicates of one metric; no mean over results that were taken on different data.

    ``most``: of a metric that lies between 0 and this; its interval over seeds is cut there, where the truth cannot be.
    """
    if not entries:
        return Value()
    if len(entries) == 1:
        number, url, scoring = entries[0]
        if scoring is None:
            return Value(float(number), (number,), (url,))
        partial = (scoring.n, scoring.skipped) if scoring.skipped else None
        return Value(float(number), (number,), (url,), revision=scoring.revision, partial=partial)
    numbers = tuple([number for number, _, _ in entries])
    urls = tuple([url for _, url, _ in entries])
    scorings = [scoring for _, _, scoring in entries if scoring is not None]
    data = {(scoring.revision, scoring.n, scoring.skipped) for scoring in scorings}
    revision = " and ".join(sorted({revision for revision, _, _ in data})) if data else None
    partial = next(((scoring.n, scoring.skipped) for scoring in scorings if scoring.skipped), None)
    if len(data) > 1:
        return Value(values=numbers, urls=urls, revision=revision, partial=partial)
    mean, spread = mean_and_spread(numbers)
    if min(numbers) == max(numbers):
        return Value(mean, numbers, urls, spread=spread, revision=revision, partial=partial)
    ci = _cut(student(mean, spread, len(numbers), confidence), numbers, most)
    return Value(mean, numbers, urls, spread=spread, ci=ci, ci_over="seeds", revision=revision, partial=partial)


def _most(metric: str) -> float | None:
    return 100.0 if is_percent(metric) else 1.0 if metric.endswith("/accuracy") else None


def _cut(interval: Interval, numbers: Sequence[float], most: float | None) -> Interval:
    low, high = interval
    return interval if most is None or min(numbers) < 0 or max(numbers) > most else (max(0.0, low), min(most, high))


def _missing(trials: Sequence[TrialOutcome], metrics: Mapping[str, Value]) -> tuple[str, ...]:
    """Why values are absent, replicates with the same reason joined."""
    reasons: dict[str, list[int]] = {}
    for trial in trials:
        scored = {scoring.benchmark for scoring in trial.scorings}
        unscored = [name for name in trial.evaluate if name not in scored]
        if trial.state != "completed":
            reason = trial.state + (f" ({trial.cause})" if trial.cause else "")
        elif unscored:
            reason = f"not scored on {', '.join(unscored)}"
        else:
            continue
        reasons.setdefault(reason + (f": {trial.reason}" if trial.reason else ""), []).append(trial.seed)
    lines = []
    for reason, seeds in reasons.items():
        who = "" if len(trials) == 1 else f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}: "
        lines.append(who + reason)
    mixed = sorted({metric.split("/", 1)[0] for metric, value in metrics.items() if value.values and value.mean is None})
    lines += [f"n/a on {name}: {why}" for name, why in trials[0].unreadable.items()]
    return (*lines, *(f"no mean on {name}: the replicates were scored on different data" for name in mixed))


def _baseline_row(baseline: BaselineOutcome) -> Row:
    metrics = {
        f"{scoring.benchmark}/{short}": _value([(number, None, scoring)])
        for scoring in baseline.scorings
        for short, number in scoring.metrics.items()
        if number is not None
    }
    return Row("baseline", baseline.name, None, 1, 1, metrics)


def _reported_rows(reported: Sequence[ReportedRow]) -> list[Row]:
    """A row for each model that only papers know, with what all tables print of it; a number that a later table prints again, and
    that could differ, has a row of its own."""
    found: list[Row] = []
    for entry in reported:
        if entry.model is None:
            continue
        row = _reported_row(entry)
        free = [at for at, known in enumerate(found) if known.name == row.name and not known.metrics.keys() & row.metrics.keys()]
        if free:
            found[free[0]] = replace(found[free[0]], metrics={**found[free[0]].metrics, **row.metrics})
        else:
            found.append(row)
    return found


def _reported_row(row: ReportedRow) -> Row:
    metrics = {
        metric: Value(reported=printed.value, source=row.source, note=printed.note)
        for metric, printed in row.values.items()
        if printed.value is not None
    }
    return Row("reported", str(row.model), None, 0, 0, metrics)


def _ordered_metrics(
    rows: Sequence[Row], reported: Sequence[ReportedRow], baselines: Sequence[BaselineOutcome], order: Sequence[str]
) -> tuple[str, ...]:
    """What papers print, in their order; then ``order``; then the rest by name. A benchmark's stand together, training's last.

    Which result has come first changes nothing. Reported names that nothing has measured yet are among them.
    """
    printed = dict.fromkeys(metric for row in reported for metric in row.values)
    found = {metric for row in rows for metric in row.metrics}
    found |= {f"{scoring.benchmark}/{short}" for baseline in baselines for scoring in baseline.scorings for short in scoring.metrics}
    known = found | printed.keys()
    unique = dict.fromkeys([*printed, *(metric for metric in order if metric in known), *sorted(known)])
    prefixes = list(dict.fromkeys(name.split("/", 1)[0] for name in unique))
    prefixes.sort(key=lambda prefix: (prefix in OWN, prefix == "train"))
    return tuple(name for prefix in prefixes for name in unique if name.split("/", 1)[0] == prefix)


def _mark_best(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Mark the best cells of each column, ties included; a column over different data has no best."""
    means: dict[str, list[float]] = {metric: [] for metric in metrics}
    places: dict[str, list[int]] = {metric: [] for metric in metrics}
    data: dict[str, set[object]] = {metric: set() for metric in metrics}
    for index, row in enumerate(rows):
        for metric, value in row.metrics.items():
            if value.mean is not None:
                means[metric].append(value.mean)
                places[metric].append(index)
                data[metric].add((value.revision, value.partial))
    best: set[tuple[int, str]] = set()
    mixed: dict[str, None] = {}
    for metric, found in means.items():
        way = direction(metric)
        if way is None or len(found) < 2:
            continue
        if len(data[metric]) > 1:
            mixed[metric.split("/", 1)[0]] = None
            continue
        top = max(found) if way == "max" else min(found)
        best |= {(index, metric) for index, mean in zip(places[metric], found, strict=True) if math.isclose(mean, top, rel_tol=1e-12)}
    marked = with_values(rows, {(index, metric): replace(rows[index].metrics[metric], best=True) for index, metric in best})
    return marked, [f"No best cell is marked on {name}: its cells were scored on different data." for name in mixed]


def _abouts(reported: Sequence[ReportedRow]) -> list[str]:
    """What is said of whole tables, once each."""
    return [f"{source}: {about}" for source, about in dict.fromkeys((row.source, row.about) for row in reported) if about]


def _notes(
    rows: Sequence[Row],
    notes: Sequence[str],
    rehearsal: bool,
    objective: str | None,
) -> list[str]:
    """Sentences below the table, without repetition."""
    out: dict[str, None] = {}
    if rehearsal:
        out["A rehearsal: tiny models on generated data. These numbers say nothing about the models named here."] = None
    for row in rows:
        for metric, value in row.metrics.items():
            if value.partial is not None:
                scored, skipped = value.partial
                benchmark = metric.split("/", 1)[0]
                out[f"Partial on {benchmark}: {scored} of {scored + skipped} examples, the media of {skipped} are absent."] = None
        out |= dict.fromkeys(_remarks(row))
    data = {(metric, value.revision) for row in rows for metric, value in row.metrics.items() if value.revision}
    if data:
        named = sorted({(metric.split("/", 1)[0], revision) for metric, revision in data})
        out[f"Data: {', '.join(f'{benchmark} {revision}' for benchmark, revision in named)}."] = None
    out |= dict.fromkeys(notes)
    if objective is not None and is_percent(objective):
        out[f"Selected on the benchmark it reports: the objective is {objective}."] = None
    return list(out)


def _remarks(row: Row) -> list[str]:
    """What the papers' rows say about their numbers; a remark about all of a row's numbers names none of them."""
    printed = [metric for metric, value in row.metrics.items() if value.reported is not None]
    remarks: dict[str, list[str]] = {}
    for metric in printed:
        note = row.metrics[metric].note
        if note is not None:
            remarks.setdefault(note, []).append(metric)
    return [
        f"{row.name}: {note}" if len(metrics) == len(printed) else f"{row.name}, {', '.join(metrics)}: {note}"
        for note, metrics in remarks.items()
    ]
