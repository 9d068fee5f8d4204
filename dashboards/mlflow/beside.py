"""What a run has beside its points: the data sets that it was trained and scored on, the model with its signature, and plots.

Each is sent once; a tag of the run says that it was. A process that dies between the two leaves a data set, which MLflow takes a
second time as the same, or a model, which is found again by its run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from core.workspace.files import read_json
from core.workspace.layout import Trial
from core.workspace.lineage import metric_lines
from dashboards.mlflow.library import Dataset, DatasetInput, InputTag
from dashboards.mlflow.runs import SENT, TrialRun

CONTEXT = "mlflow.data.context"
DIGEST = 36
"""Characters of a data set's digest: MLflow's limit."""
PLOTTED = ("train/loss", "validation/accuracy")


def send_training_data(run: TrialRun, record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """The sources of a published result, as data sets of training."""
    counts = (record.get("facts") or {}).get("counts") or {}
    digest = str(record["fingerprints"].get("data", ""))
    sources = (config.get("data") or {}).get("sources") or {}
    if run.tags.get(SENT + "data") == digest or not counts:
        return
    _send(run, [(name, digest, sources.get(name, {}), rows) for name, rows in counts.items()], "training")
    run.send(tags={SENT + "data": digest})


def send_benchmark(run: TrialRun, summary: Mapping[str, Any]) -> None:
    """The benchmark of a scoring, as a data set of evaluation."""
    about = {"revision": summary["revision"], "rehearsal": summary.get("rehearsal", False)}
    _send(run, [(summary["benchmark"], str(summary["data_hash"]), about, {"examples": summary["n"]})], "evaluation")


def _send(run: TrialRun, sets: Sequence[tuple[str, str, Any, Any]], context: str) -> None:
    inputs = [
        DatasetInput(
            Dataset(
                name=name[:250],
                digest=digest[:DIGEST] or "unknown",
                source_type="rewardsweep",
                source=json.dumps(source, default=str),
                profile=json.dumps(profile),
            ),
            [InputTag(CONTEXT, context)],
        )
        for name, digest, source, profile in sets
    ]
    run.client.log_inputs(run.id, inputs)


def send_model(run: TrialRun, trial: Trial, config: Mapping[str, Any]) -> None:
    """The trained model as MLflow's logged model: what it takes and gives, and where its weights lie. They stay in the workspace."""
    manifest = trial.result / "manifest.json"
    if run.tags.get(SENT + "model") or not (trial.result / "weights").is_dir() or not manifest.exists():
        return
    found = run.client.search_logged_models([run.experiment], filter_string=f"source_run_id = '{run.id}'", max_results=1)
    if found:
        model = found[0]
    else:
        params = {"backbone": str(config["backbone"]["name"]), "paradigm": str(config["paradigm"]["name"])}
        model = run.client.create_logged_model(
            run.experiment, name=f"reward_model-{trial.id[:10]}", source_run_id=run.id, model_type="reward model", params=params,
            tags={"rewardsweep.trial": trial.id, "rewardsweep.weights": str(trial.result / "weights")},
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="sweep-model-") as folder:
        _write_description(Path(folder), run.id, model.model_id, trial)
        run.client.log_model_artifacts(model.model_id, folder)
    if str(model.status) != "READY":
        run.client.finalize_logged_model(model.model_id, "READY")
    _link_model(run, str(model.model_id), step=int(read_json(trial.result / "metrics.json").get("steps") or 0))
    run.send(tags={SENT + "model": str(model.model_id)})


def _link_model(run: TrialRun, model: str, *, step: int) -> None:
    """Say that the run has made the model: without that, MLflow's page of the run shows none."""
    from mlflow.entities import LoggedModelOutput

    known = run.client.get_run(run.id).outputs
    if known is None or model not in {output.model_id for output in known.model_outputs}:
        run.client.log_outputs(run.id, [LoggedModelOutput(model, step)])


def _write_description(folder: Path, run: str, model: str, trial: Trial) -> None:
    """MLflow's ``MLmodel`` file with the signature: a prompt and its responses in, one reward for each response out.

    It is written in MLflow's documented format: mlflow's own classes for it want numpy and pandas, which are not imported here.
    """
    takes = [
        {"name": "prompt", "type": "string", "required": True},
        {"name": "responses", "type": "array", "items": {"type": "string"}, "required": True},
        {"name": "images", "type": "array", "items": {"type": "binary"}, "required": False},
    ]
    gives = [{"name": "rewards", "type": "array", "items": {"type": "double"}, "required": True}]
    load = {"trial": trial.id, "weights": str(trial.result / "weights"), "load": f"sweep export {trial.id[:10]} -o DIR"}
    record = {
        "artifact_path": "",
        "flavors": {"rewardsweep": load},
        "mlflow_version": version("mlflow"),
        "model_id": model,
        "run_id": run,
        "signature": {"inputs": json.dumps(takes), "outputs": json.dumps(gives), "params": None},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(record), encoding="utf-8")


def send_plots(run: TrialRun, trial: Trial) -> None:
    """The curves of a finished trial as pictures among its artifacts."""
    if run.tags.get(SENT + "plots"):
        return
    from dashboards.plots import Curve, Look, curves
    from dashboards.report.numbers import unit

    points: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in PLOTTED}
    for line in metric_lines(trial):
        for name in PLOTTED:
            group, _, metric = name.partition("/")
            if line.group == group and metric in line.values:
                points[name][0].append(line.step)
                points[name][1].append(line.values[metric])
    with tempfile.TemporaryDirectory(prefix="sweep-plots-") as folder:
        for name, (x, y) in points.items():
            if x:
                file = Path(folder) / f"{name.replace('/', '-')}.svg"
                file.write_bytes(curves([Curve(trial.id[:10], x, y)], Look(), x_label="step", y_label=unit(name)))
                run.client.log_artifact(run.id, str(file), "plots")
    run.send(tags={SENT + "plots": "1"})


def config_of(trial: Trial) -> Mapping[str, Any]:
    """The trial's configuration."""
    config: Mapping[str, Any] = read_json(trial.config)
    return config
