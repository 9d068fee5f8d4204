"""The model card of an exported reward model: what it is, how it was trained, what it scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import yaml

from core.definition.identity import canonical
from core.definition.plan import cell_name
from core.definition.trial import TrialConfig


def model_card(
    id: str,
    config: TrialConfig,
    cell: Mapping[str, Any] | None,
    result: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
) -> str:
    """The card as Markdown with the hub's front matter.

    Args:
        id: the trial's id.
        config: the trial as planned.
        cell: its coordinates in the sweep that plans it; ``None`` where none does.
        result: ``result/metrics.json``.
        scores: the ``summary.json`` of every scoring.
    """
    hub = None if config.rehearsal is not None else config.backbone.HUB.get(config.backbone.name)
    front: dict[str, Any] = {"library_name": "transformers", "tags": ["reward-model"]}
    if hub is not None:
        front["base_model"] = hub
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---",
        f"# Reward model on {config.backbone.name}",
        *_warning(config),
        f"Trial `{id}`, seed {config.seed}" + (f", cell `{cell_name(cell)}`" if cell else "") + ".",
        f"Exported by RewardSweep {version('rewardsweep')}.",
        "A higher reward is a better response to the same prompt; rewards of different prompts are not comparable."
        if config.paradigm.HEAD
        else "The model compares two responses in writing; the reward of a response is the share of its comparisons that it wins.",
        "## Use",
        _usage(config),
        "## Results",
        _results(scores),
        "## Recipe",
        "What the trial computed; the budget of a rehearsal replaces the one in `train`."
        if config.rehearsal
        else "What the trial computed.",
        "```yaml\n" + yaml.safe_dump(canonical(config), sort_keys=False, allow_unicode=True) + "```",
        "## Training",
        _training(result),
    ]
    return "\n\n".join(parts) + "\n"


def _warning(config: TrialConfig) -> list[str]:
    if config.rehearsal is None:
        return []
    return ["**A rehearsal: a tiny model with random weights, trained on generated data. It is no reward model of anything.**"]


def _usage(config: TrialConfig) -> str:
    images = ', images=["shape.png"]' if "image" in config.backbone.READS else ""
    call = f'model.score("What colour is it?", ["It is red.", "It is blue."]{images})'
    code = f'from reward_model import RewardModel\n\nmodel = RewardModel(device="cpu")\n{call}'
    return f"In this folder, with torch, transformers, safetensors and Pillow:\n\n```python\n{code}\n```"


def _results(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "None: no benchmark has been scored with this model."
    rows = ["| benchmark | revision | examples | metric | % |", "|---|---|---|---|---|"]
    for summary in scores:
        n = f"{summary['n']}, of {summary['n'] + summary['partial']['skipped']}" if summary.get("partial") else summary["n"]
        for metric, value in summary["metrics"].items():
            shown = "-" if value is None else f"{value:.1f}"
            rows.append(f"| {summary['benchmark']} | {summary['revision']} | {n} | {metric} | {shown} |")
    return "\n".join(rows)


def _training(result: Mapping[str, Any]) -> str:
    metrics = result["metrics"]
    rows = ["| metric | value |", "|---|---|"]
    rows += [f"| {name} | {value:.6g} |" for name, value in metrics.items() if name.startswith("validation/") or name == "train/loss"]
    rows += [f"| {name} | {result['facts']['counts'][name]['train']:,} pairs |" for name in result.get("facts", {}).get("counts", {})]
    prints = ", ".join(f"{name} `{value}`" for name, value in result.get("fingerprints", {}).items())
    return "\n".join([f"{metrics['train/steps']:,} steps. Fingerprints: {prints}.", "", *rows])
