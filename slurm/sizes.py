"""How much a worker asks for, and how many trials run side by side in it. Pure.

A worker asks for what one trial needs, or, where the profile says what a node has (``node``), for that on as many nodes as
the trial has. The number of trials side by side follows: of GPUs, cores and memory whichever is used up first.
"""

from __future__ import annotations

import math

from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.run.packing import Allotted
from slurm.profile import Node, Profile


def slots(profile: Profile, shape: Shape) -> int:
    """How many trials of a shape a worker runs side by side; 0: a node has less than one trial needs."""
    node = profile.node
    if node is None:
        return 1
    bounds = [node.cpus // (_needed_by_rank(profile, shape) * per_node(shape))]
    if shape.gpus:
        bounds.append(node.gpus // (shape.gpus // shape.nodes))
    memory = memory_of_trial(profile, shape)
    if node.memory is not None and memory is not None:
        bounds.append(math.floor(node.memory / (memory / shape.nodes)))
    return min(bounds)


def require(profile: Profile, shape: Shape, name: str) -> None:
    """Refuse trials that no node holds.

    Raises:
        EnvironmentFault: with what a node has and what a trial asks for.
    """
    node = profile.node
    if node is None or slots(profile, shape) > 0:
        return
    has = f"{node.gpus} GPUs, {node.cpus} cores" + (f", {node.memory:g} GiB" if node.memory else "")
    memory = memory_of_trial(profile, shape)
    asks = f"{shape.gpus // shape.nodes} GPUs, {_needed_by_rank(profile, shape) * per_node(shape)} cores"
    asks += f", {memory / shape.nodes:g} GiB" if memory else ""
    raise EnvironmentFault(
        f"a node of {name} has less than a trial needs",
        found=f"a trial asks each of {shape.nodes} nodes for {asks}", allowed=f"`node` of the profile: {has}",
        next="set resources.gpus, cpus, memory or nodes, or correct `node` in the profile",
    )  # fmt: skip


def per_node(shape: Shape) -> int:
    """Processes of a trial on each node."""
    return shape.processes // shape.nodes


def cpus_per_rank(profile: Profile, shape: Shape) -> int:
    """Cores of each process; where a trial names none, the cores of the node are divided."""
    if profile.node is None or shape.cpus:
        return _needed_by_rank(profile, shape)
    return max(1, profile.node.cpus // max(1, slots(profile, shape)) // per_node(shape))


def cpus(profile: Profile, shape: Shape) -> int:
    """Cores of a trial."""
    return shape.cpus or (profile.cpus if profile.node is None else cpus_per_rank(profile, shape) * shape.processes)


def memory_of_trial(profile: Profile, shape: Shape) -> float | None:
    """GiB that a trial asks for, on all of its nodes together."""
    return shape.memory or profile.memory


def allotted(profile: Profile, shape: Shape) -> Allotted:
    """What a worker asks for, on all of its nodes together."""
    node = profile.node
    memory = memory_of_trial(profile, shape)
    if node is None:
        return Allotted(shape.gpus, cpus(profile, shape), memory)
    if node.memory is not None:
        memory = node.memory * shape.nodes
    elif memory is not None:
        memory *= slots(profile, shape)
    return Allotted(_gpus(node, shape), node.cpus * shape.nodes, memory)


def _gpus(node: Node, shape: Shape) -> int:
    return node.gpus * shape.nodes if shape.gpus else 0


def _needed_by_rank(profile: Profile, shape: Shape) -> int:
    return math.ceil((shape.cpus or profile.cpus) / shape.processes)
