"""How long a table takes over many finished trials, and its statistics by example, beside MLflow and pandas in the same run.

    python bench/report.py                    # 5,000 trials with 1,250 scored pairs each
    python bench/report.py --trials 1000 --mlflow 200

``table`` is the report from outcomes that are in memory, as `sweep report --quick` builds it, written as text. ``read`` is reading all
score tables from disk into credits, ``statistics`` the report with bootstrap intervals for every cell and the test of the best ones.
``mlflow`` is ``mlflow.search_runs`` on a store with as many runs of the same metrics, grouped by pandas into the same means. Making its
runs is slow, so by default there are 500, and its seconds are per run times the number of trials. All on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (the number of threads is read when it is imported)

from core.analysis import ScoringOutcome, TrialOutcome, build_report  # noqa: E402
from core.data.examples import pair  # noqa: E402
from core.evaluation.credits import collect  # noqa: E402
from core.evaluation.score_table import ScoreMetadata, ScoreTable, from_examples  # noqa: E402
from core.evaluation.scorer import summarise  # noqa: E402
from dashboards.report import render  # noqa: E402

GROUPS = ("wildvision-battle", "RLAIF-V", "mathverse", "mmmu")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


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


def mlflow_table(outcomes: list[TrialOutcome], folder: Path) -> float:
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

        return timed(table)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--pairs", type=int, default=1250)
    parser.add_argument("--mlflow", type=int, default=500, help="runs in the MLflow store; 0 leaves it out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = write_tables(given.trials, given.pairs, folder)
        seconds = {"table": timed(lambda: render(build_report("bench", outcomes, rehearsal=False), width=120))[0]}
        seconds["read"], credits = timed(lambda: read(outcomes, folder))
        seconds["statistics"] = timed(lambda: render(build_report("bench", outcomes, rehearsal=False, credits=credits), width=120))[0]
        if given.mlflow:
            runs = min(given.mlflow, given.trials)
            seconds["mlflow"] = mlflow_table(outcomes[:runs], folder) * given.trials / runs
    print(f"{given.trials} trials, {given.pairs} pairs each")
    for what, value in seconds.items():
        print(f"{what:12}{value:>9.2f} s{value / seconds['table']:>9.1f} x table")
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
