"""The commented file that ``sweep new NAME`` writes: complete, small, and valid as it stands."""

from __future__ import annotations

import re

from core.errors import UsageError

_TEXT = """\
# A sweep definition. `sweep plan {file}` shows what it would do, `sweep keys` lists every key.
version: 1
name: {name}
project: {name}                 # the MLflow experiment
base: ablation_base             # hands down trial, validation, evaluate, objective, resources, checkpoint and code
description: What this study is meant to find out.
# code: [my_losses.py]          # your own components, beside this file

trial:                          # the fixed part of every trial, on top of the base's
  optim: {{lr: 3e-6}}
  # data:
  #   sources:
  #     mine: {{path: my_pairs.jsonl, format: pair}}     # paths are relative to this file

grid:                           # every combination of these values is a cell
  head.layers: [1, 2]
  head.activation: [none, silu]  # a one-layer head has no activation: its two cells are one
  # optim.lr: {{logspace: [1e-6, 1e-4, 3]}}              # also range and linspace, as [first, last, ...]
  # "backbone, resources.gpus": [[qwen2.5-vl-3b, 4], [qwen2.5-vl-7b, 8]]    # these move together

# cases:                        # instead of a full cross: the cells are the union of these small grids
#   - {{head.layers: 1, head.activation: none}}
#   - {{head.layers: [2, 3], head.activation: silu}}

# exclude:                      # cells that match every path given are dropped
#   - {{head.layers: 2, head.activation: none}}

seeds: 1                        # replicates of each cell: 3 means 0, 1, 2; or a list
# validation: {{items: 1000, every: 0.1}}
# evaluate: [vl_rewardbench, mm_rlhf_rewardbench]
# objective: {{metric: validation/accuracy, mode: max}}
# checkpoint: {{every: 20min, keep: 1, after: weights, select: last}}
# resources: {{gpus: 8, time: 4h}}
# ensembles: [{{name: best2, members: {{top: 2}}, rules: [mean, vote]}}]     # rows made of score tables; they train nothing
"""


def starting_file(name: str) -> str:
    """The text of a new definition of this name.

    Raises:
        UsageError: the name is none that a sweep can have.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UsageError("this is no name for a sweep", found=name, allowed="letters, digits, dot, dash and underscore, at most 100")
    return _TEXT.format(name=name, file=f"{name}.yaml")
