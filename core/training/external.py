"""The task `external`: a public reward model is published as it is, without a step of training, and then scored like any other trial.

What is published is ``reward_model.json``, with the trial's configuration and the digest of the model's folder; the weights stay where
they are. In a rehearsal the adapter writes a tiny twin into ``model/`` beside it: a folder in the layout of the public one with random
weights, so that a rehearsal loads and scores in the way that a real trial does.
"""

from __future__ import annotations

import json
from pathlib import Path

from core.definition.needs import folder_digest
from core.definition.trial import TrialConfig
from core.models.external.base import TWIN, adapter
from core.models.locate import check_trust, locate
from core.models.reward_model import FORMAT
from core.training.context import RunContext


def publish(config: TrialConfig, context: RunContext) -> dict[str, float]:
    """Publish what scoring needs of a public model.

    Returns:
        The metrics of a trial that trains nothing: steps, pairs and tokens, all 0.

    Raises:
        EnvironmentFault: the weights are not on this machine, or need code that the definition does not allow.
    """
    folder = locate(config.backbone) if config.rehearsal is None else None
    if folder is not None:
        check_trust(config.backbone)
    metrics = {"train/steps": 0.0, "train/pairs": 0.0, "train/tokens": 0.0}

    def write(target: Path) -> None:
        if folder is None:
            (target / TWIN).mkdir()
            adapter(config).write_twin(target / TWIN, config)
        digest = folder_digest(folder or target / TWIN)
        about = {"format": FORMAT, "config": config.model_dump(mode="json"), "model": digest}
        (target / "reward_model.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    context.publish(write, metrics)
    return metrics
