"""How many trials fit into what a worker takes of a node, and what each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.definition.plan import Shape
from core.errors import DefinitionError, EnvironmentFault
from core.run.packing import Allotted
from slurm import sizes
from slurm.checks import _node
from slurm.polling import Reply
from slurm.profile import Profile, find


def profile(**more: Any) -> Profile:
    return Profile.model_validate({"kind": "slurm", "node": {"gpus": 8, "cpus": 64, "memory": "512G"}} | more)


@pytest.mark.parametrize(
    ("shape", "more", "slots", "cores"),
    [
        (Shape(gpus=1), {}, 8, 8),
        (Shape(gpus=1, cpus=16), {}, 4, 16),
        (Shape(gpus=1, memory=200.0), {}, 2, 32),
        (Shape(gpus=1), {"memory": "128G"}, 4, 16),
        (Shape(gpus=3), {}, 2, 30),
        (Shape(gpus=8), {}, 1, 64),
        (Shape(), {}, 64, 1),
        (Shape(), {"cpus": 24}, 2, 32),
        (Shape(nodes=2, gpus=4), {}, 4, 32),
        (Shape(nodes=2, gpus=16, memory=1024.0), {}, 1, 128),
        (Shape(gpus=16, nodes=1), {}, 0, 16),
        (Shape(ranks=3), {}, 21, 3),
    ],
)
def test_what_is_used_up_first_decides(shape: Shape, more: dict[str, Any], slots: int, cores: int) -> None:
    assert sizes.slots(profile(**more), shape) == slots
    if slots:
        assert sizes.cpus(profile(**more), shape) == cores
        assert slots * sizes.cpus(profile(**more), shape) // shape.nodes <= 64


def test_a_worker_takes_the_whole_of_each_node() -> None:
    assert sizes.allotted(profile(), Shape(gpus=1)) == Allotted(8, 64, 512.0)
    assert sizes.allotted(profile(), Shape(nodes=2, gpus=4)) == Allotted(16, 128, 1024.0)
    assert sizes.allotted(profile(), Shape()) == Allotted(0, 64, 512.0), "no GPUs where trials need none"
    assert sizes.allotted(profile(node={"gpus": 2, "cpus": 8}), Shape(gpus=1, memory=30.0)).memory == 60.0
    plain = Profile(kind="slurm", cpus=4)
    assert (sizes.slots(plain, Shape(gpus=1)), sizes.allotted(plain, Shape(gpus=1))) == (1, Allotted(1, 4, None))


def test_a_trial_that_no_node_holds_is_refused_with_both_numbers() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        sizes.require(profile(), Shape(gpus=16), "jupiter")
    assert caught.value.found == "a trial asks each of 1 nodes for 16 GPUs, 16 cores"
    assert caught.value.allowed == "`node` of the profile: 8 GPUs, 64 cores, 512 GiB"


def test_doctor_compares_the_profile_with_the_nodes_that_are_there() -> None:
    def sinfo(words: Sequence[str]) -> Reply:
        return Reply(0, "64|515000|gpu:h200:8(S:0-1)\n128|1030000|(null)\nwhat is this\n", "")

    (fits,) = _node(profile(node={"gpus": 8, "cpus": 64, "memory": "500G"}), sinfo)
    assert (fits.verdict, fits.found) == ("ok", "8 GPUs, 64 cores, 500 GiB")
    (wrong,) = _node(profile(node={"gpus": 8, "cpus": 128}), sinfo)
    assert wrong.verdict == "bad" and wrong.next == "there are 0 GPUs, 128 cores, 1005.86 GiB; 8 GPUs, 64 cores, 502.93 GiB"
    assert list(_node(Profile(kind="slurm"), sinfo)) == []


def test_a_wrong_node_is_shown_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_SITE", str(tmp_path / "none.yaml"))
    (tmp_path / "clusters.yaml").write_text("box:\n  kind: local\n  node: {gpu: 8, cpus: 64}\n")
    with pytest.raises(DefinitionError) as caught:
        find("box")
    assert caught.value.nearest == "gpus" and "clusters.yaml:3" in str(caught.value)
    (tmp_path / "clusters.yaml").write_text("box:\n  kind: local\n  node: {gpus: 8}\n")
    with pytest.raises(DefinitionError, match=r"box\.node\.cpus is missing"):
        find("box")
