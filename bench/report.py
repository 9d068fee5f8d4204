"""How long a table takes over many finished trials, and its statistics by example, beside MLflow and pandas in the same run.

    python bench/report.py                    # 5,000 trials with 1,250 scored pairs each
    python bench/report.py --trials 1000 --mlflow 200 --repeat 5

``quick`` is the whole of `sweep report --quick` of a finished sweep but for the interpreter's start: from the index to the text. ``read``
is reading all score tables from disk into credits, ``statistics`` the report with bootstrap intervals for every cell and the test of the
best ones.
``mlflow`` is ``mlflow.search_runs`` on a store with as many runs of the same metrics, grouped by pandas into the same means. Making its
runs is slow, so by default there are 500, and its seconds are per run times the number of trials. All on one core; each is the median of
the repetitions, in seconds of this process's CPU (user and system) and of the clock. No garbage is collected, as in that command.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (the number of threads is read when it is imported)

from core.analysis import ScoringOutcome, TrialOutcome, build_report  # noqa: E402
from core.data.examples import pair  # noqa: E402
from core.definition.identity import scoring_key  # noqa: E402
from core.definition.plan import PlannedTrial  # noqa: E402
from core.evaluation.credits import collect  # noqa: E402
from core.evaluation.score_table import ScoreMetadata, ScoreTable, from_examples  # noqa: E402
from core.evaluation.scorer import summarise  # noqa: E402
from core.store import Index, StateRow  # noqa: E402
from core.store.models import ScoreMetricTable, ScoringTable, TrialTable  # noqa: E402
from core.store.sync import upsert  # noqa: E402
from core.workspace.layout import Workspace  # noqa: E402
from core.workspace.registration import Revision, register  # noqa: E402
from dashboards.report import render  # noqa: E402
from sweeps.reporting import finished_study, gather  # noqa: E402

GROUPS = ("wildvision-battle", "RLAIF-V", "mathverse", "mmmu")


def timed(work: Callable[[], Any], repeat: int = 1) -> tuple[tuple[float, float], Any]:
    """Medians of CPU and clock, and the last result."""
    cpu, clock = [], []
    for _ in range(repeat):
        began, spent = time.perf_counter(), time.process_time()
        result = work()
        cpu.append(time.process_time() - spent)
        clock.append(time.perf_counter() - began)
    return (median(cpu), median(clock)), result


def write_index(outcomes: list[TrialOutcome], folder: Path) -> tuple[Workspace, Revision]:
    """A finished sweep with these outcomes: registered by its plan, its results written into the index as a sync would."""
    place = Workspace.open(folder / "runs", create=True)
    evaluate = ({"benchmark": {"name": "vl_rewardbench"}, "revision": "1250-rows"},)
    trials = [PlannedTrial(f"{n:032x}", one.cell, one.seed, {"seed": 0}, evaluate=evaluate) for n, one in enumerate(outcomes)]
    meta = {"name": "bench", "project": "bench", "rehearsal": False, "digest": "bench", "source": "", "overrides": []}
    meta |= {"reported": [], "objective": {"metric": "vl_rewardbench/overall", "mode": "max"}}
    revision, _ = register(place, place.sweep("bench"), meta=meta, definition="name: bench\n", code=[], trials=trials)
    index = Index.open(place)
    index.sync(place, ["bench"])
    rows, values = [], []
    for planned, one in zip(trials, outcomes, strict=True):
        key = scoring_key(planned.id, evaluate[0]["benchmark"], "1250-rows")
        mine = {"kind": "trial", "owner": planned.id, "key": key}
        rows.append({**mine, "benchmark": "vl_rewardbench", "revision": "1250-rows", "n": 1250, "partial": None, "mark": ""})
        values += [{**mine, "name": name, "value": value} for name, value in one.scorings[0].metrics.items()]
    record = {"metrics": {}, "flags": []}
    with index._database.write() as connection:
        upsert(connection, TrialTable, [{"id": t.id, "config": None, "result": record, "result_mark": "", "attempts": 0} for t in trials])
        upsert(connection, ScoringTable, rows)
        upsert(connection, ScoreMetricTable, values)
    index.record_states(StateRow(planned.id, "completed", attempts=1) for planned in trials)
    index.close()
    return place, revision


def write_tables(trials: int, pairs: int, folder: Path) -> list[TrialOutcome]:
    """Score tables of cells that differ in skill, one replicate each, two pairs to an id."""
    rng = np.random.default_rng(0)
    examples = [pair(f"{GROUPS[n // 2 % 4]}-{n // 2}", f"question {n}", f"good {n}", f"bad {n}") for n in range(pairs)]
    first = from_examples(examples, [[1.0, 0.0]] * pairs, ScoreMetadata("vl_rewardbench", "1250-rows", "h", "trial"))
    outcomes = []
    for number in range(trials):
        scores = rng.normal([0.5 + 0.3 * number / trials, 0], 1, (pairs, 2))
        column = first.data.schema.get_field_index("score")
        table = ScoreTable(first.data.set_column(column, first.data.schema.field(column), [scores.ravel()]), first.metadata)
        table.write(folder / f"{number}.parquet")
        metrics = summarise(table)["metrics"] if number < 3 else {**outcomes[-1].scorings[0].metrics, "overall": accuracy(scores)}
        scoring = ScoringOutcome("vl_rewardbench", "1250-rows", pairs, 0, metrics, str(number))
        outcomes.append(TrialOutcome(str(number), {"optim.lr": number}, 0, "completed", scorings=(scoring,)))
    return outcomes


def accuracy(scores: Any) -> float:
    return float(100 * (scores[:, 0] > scores[:, 1]).mean())


def read(outcomes: list[TrialOutcome], folder: Path) -> Any:
    def tables() -> Iterator[tuple[str, ScoreTable]]:
        for outcome in outcomes:
            yield outcome.id, ScoreTable.read(folder / f"{outcome.id}.parquet")

    return collect(tables())


def mlflow_table(outcomes: list[TrialOutcome], folder: Path, repeat: int) -> tuple[float, float]:
    """Seconds for the runs of these outcomes; making them is not counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        from mlflow.entities import Metric, Param

        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("bench")
        for outcome in outcomes:
            run = client.create_run(experiment)
            scores = outcome.scorings[0].metrics
            metrics = [Metric(f"vl_rewardbench/{name}", value, 0, 0) for name, value in scores.items() if value is not None]
            client.log_batch(run.info.run_id, metrics, [Param("optim.lr", str(outcome.cell["optim.lr"]))])

        def table() -> str:
            runs = mlflow.search_runs([experiment], max_results=len(outcomes))
            means = runs.groupby("params.optim.lr")[[name for name in runs.columns if name.startswith("metrics.")]].mean()
            return str(means.to_string())

        return timed(table, repeat)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=1250)
    parser.add_argument("--mlflow", type=int, default=500, help="runs in the MLflow store; 0 leaves it out")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = write_tables(given.trials, given.pairs, folder)
        place, revision = write_index(outcomes, folder)
        assert finished_study(place, revision) is not None, "the index alone does not answer"
        gc.disable()
        seconds: dict[str, tuple[float, float]] = {}
        seconds["quick"], _ = timed(lambda: render(gather(place, revision, examples=False), width=120), given.repeat)
        seconds["read"], credits = timed(lambda: read(outcomes, folder))
        seconds["statistics"], _ = timed(lambda: render(build_report("bench", outcomes, rehearsal=False, credits=credits), width=120))
        if given.mlflow:
            runs = min(given.mlflow, given.trials)
            cpu, clock = mlflow_table(outcomes[:runs], folder, given.repeat)
            seconds["mlflow"] = (cpu * given.trials / runs, clock * given.trials / runs)
    print(f"{given.trials} trials, {given.pairs} pairs each")
    for what, (cpu, clock) in seconds.items():
        print(f"{what:12}{cpu:>9.2f} s of CPU{clock:>9.2f} s")
    print(json.dumps({what: {"cpu": cpu, "clock": clock} for what, (cpu, clock) in seconds.items()}))


if __name__ == "__main__":
    main()
