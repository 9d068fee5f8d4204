"""``sweep data`` and ``sweep fetch``: what users see, with a server in the shape of the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub

from sweeps.cli.main import app

DEFINITION = """\
version: 1
name: sets
trial:
  backbone: qwen2.5-vl-3b
  data:
    sources:
      shp: {}
      mine: {path: mine.jsonl}
    mixture: {dedup: across}
  train: {steps: 1}
validation: {items: 1}
evaluate: [rm_bench, multimodal_rewardbench]
resources: {gpus: 0}
"""
SHP = {"post_id": "p", "history": "q", "human_ref_A": "yes", "human_ref_B": "no", "labels": 1}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rm_row(prompt: str) -> dict[str, Any]:
    return {"id": "1", "prompt": prompt, "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "chat"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "sets.yaml").write_text(DEFINITION)
    mine = [{"prompt": f"m{n}", "chosen": "yes", "rejected": "never"} for n in range(4)]
    (tmp_path / "mine.jsonl").write_bytes(lines([*mine, mine[0]]))
    (tmp_path / "data/shp/a").mkdir(parents=True)
    rows = [{**SHP, "history": f"q{n}", "post_id": f"p{n}"} for n in range(3)]
    (tmp_path / "data/shp/a/train.json").write_bytes(lines([*rows, {**SHP, "human_ref_B": "yes"}]))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert app([*words, "--json"], standalone_mode=False) == code
    return json.loads(capsys.readouterr().out)


def test_the_known_sets_and_mixtures_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "data", "show")
    sets = {entry["name"]: entry for entry in found["sets"]}
    assert sets["shp"]["here"] is True and sets["mmpr"]["here"] is False
    assert {entry["name"] for entry in found["mixtures"]} == {"basereward", "basereward_multimodal", "basereward_text"}


def test_a_set_is_shown_with_its_first_pair(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "data", "show", "shp")
    assert found["hub"] == "stanfordnlp/SHP" and found["checked"]
    assert (found["first"]["prompt"], found["first"]["chosen"]) == ("q0", "yes")
    assert printed(capsys, "data", "show", "mmpr")["first"] is None
    assert "olmo_2" in printed(capsys, "data", "show", "basereward_text")["sources"]
    assert app(["data", "show", "shp"], standalone_mode=False) == 0
    assert "first pair:" in capsys.readouterr().out


def test_a_check_counts_what_was_left_out_and_its_code_says_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, shp = printed(capsys, "data", "check", "sets.yaml")["sources"]
    assert (mine["verdict"], mine["pairs"]) == ("ok", 5)
    assert (shp["verdict"], shp["pairs"], shp["skipped"]) == ("ok", 3, {"equal": 1})
    (folder / "mine.jsonl").write_text('{"prompt": "q", "chosen": "a"}\n')
    mine, shp = printed(capsys, "data", "check", "sets.yaml", code=2)["sources"]
    assert mine["verdict"] == "refused" and "mine.jsonl:1: " in mine["message"] and "`rejected` is missing" in mine["message"]
    assert shp["verdict"] == "ok"
    (folder / "data/shp/a/train.json").unlink()
    assert printed(capsys, "data", "check", "sets.yaml", code=3)["sources"][1]["verdict"] == "missing"


def test_statistics_count_repeats_and_overlaps(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # no line of the table is folded
    (folder / "data/rm_bench.json").write_text(json.dumps([rm_row("Q1 "), rm_row("other")]))
    found = printed(capsys, "data", "stats", "sets.yaml")
    assert found["benchmarks"] == ["rm_bench"]
    assert found["notices"] == ["multimodal_rewardbench is not on this machine: overlaps with it are not counted"]
    [mixture] = found["mixtures"]
    mine, shp = mixture["sources"]
    assert (mine["counts"]["rows"], mine["repeated"], mine["counts"]["repeated"], mine["longer_chosen"]) == (5, 1, 1, 0.0)
    assert (shp["overlaps"], shp["longer_chosen"], shp["with_media"]) == ({"rm_bench": 1}, 1.0, 0)
    assert mixture["epoch"] + mixture["held_out"] == 7
    assert app(["data", "stats", "sets.yaml"], standalone_mode=False) == 0
    assert "1 rm_bench" in capsys.readouterr().out


WEIGHTS = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer_config.json": b"{}",
    "preprocessor_config.json": b"{}",
    "pytorch_model.bin": b"not these",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(
        {
            ("model", "Qwen/Qwen2.5-VL-3B-Instruct"): WEIGHTS,
            ("dataset", "stanfordnlp/SHP"): {
                "askx/train.json": lines([SHP, {**SHP, "history": "q2"}]),
                "askx/test.json": b"",
                "README.md": b"x",
            },
            ("dataset", "THU-KEG/RM-Bench"): {"total_dataset.json": json.dumps([rm_row("w")]).encode()},
        }
    )
    yield made
    made.close()


def run(folder: Path, hub: Hub, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SWEEP_", "TRANSFORMERS_"))}
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
    }
    command = [sys.executable, "-m", "sweeps.cli.main", *words]
    return subprocess.run(command, cwd=folder, env={**kept, **own, **more}, capture_output=True, text=True, check=False)


def test_fetch_brings_what_a_definition_needs_and_jobs_find_it_offline(folder: Path, hub: Hub) -> None:
    (folder / "data/shp/a/train.json").unlink()
    before = run(folder, hub, "plan", "sets.yaml", "--json")
    missing = "\n".join(json.loads(before.stdout)["missing"])
    assert "the weights of qwen2.5-vl-3b" in missing and "Stanford Human Preferences" in missing and "the benchmark rm_bench" in missing
    refused = run(folder, hub, "launch", "sets.yaml")
    assert refused.returncode == 3 and not (folder / "runs").exists() and "sweep fetch" in refused.stderr
    fetched = run(folder, hub, "fetch", "sets.yaml", "--json")
    assert fetched.returncode == 0, fetched.stderr
    found = json.loads(fetched.stdout)
    assert [(entry["what"], entry["commit"], entry["files"]) for entry in found["fetched"]] == [
        ("backbone qwen2.5-vl-3b", COMMIT, 4),
        ("data shp", COMMIT, 1),
        ("benchmark rm_bench", COMMIT, 1),
    ]
    assert not any(entry["pinned"] for entry in found["fetched"])
    assert [line.split(":")[0] for line in found["elsewhere"]] == ["benchmark multimodal_rewardbench"]
    assert not any("pytorch_model.bin" in request or "README" in request for request in hub.requests)
    offline = {"HF_HUB_OFFLINE": "1"}
    after = run(folder, hub, "plan", "sets.yaml", "--json", **offline)
    assert [line for line in json.loads(after.stdout)["missing"] if "multimodal_rewardbench" not in line] == []
    stats = run(folder, hub, "data", "stats", "sets.yaml", "--json", **offline)
    assert json.loads(stats.stdout)["mixtures"][0]["sources"][1]["counts"]["rows"] == 2
    asked = len([request for request in hub.requests if request.startswith("GET") and "/resolve/" in request])
    again = run(folder, hub, "fetch", "sets.yaml", f"data.sources.shp.revision={COMMIT}", "--json")
    assert again.returncode == 0 and json.loads(again.stdout)["fetched"][1]["pinned"] is True
    assert len([request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]) == asked


def test_a_download_that_was_cut_off_is_missing_until_it_is_fetched_again(folder: Path, hub: Hub) -> None:
    assert run(folder, hub, "fetch", "sets.yaml").returncode == 0
    [file] = (folder / "home/hub/datasets--stanfordnlp--SHP/snapshots").rglob("train.json")
    file.resolve().unlink()
    missing = json.loads(run(folder, hub, "plan", "sets.yaml", "--json", HF_HUB_OFFLINE="1").stdout)["missing"]
    assert any("Stanford Human Preferences" in line for line in missing)
    assert run(folder, hub, "fetch", "sets.yaml").returncode == 0
    checked = run(folder, hub, "data", "check", "sets.yaml", "--json", HF_HUB_OFFLINE="1")
    assert checked.returncode == 0, checked.stderr


def test_what_cannot_be_fetched_is_named_and_the_rest_is_brought(folder: Path, hub: Hub) -> None:
    del hub.repositories["dataset", "stanfordnlp/SHP"]
    fetched = run(folder, hub, "fetch", "sets.yaml", "data.sources.rlaif_v.weight=1")
    assert fetched.returncode == 3
    assert "2 things could not be fetched" in fetched.stderr and "stanfordnlp/SHP cannot be fetched for data shp" in fetched.stderr
    assert "benchmark rm_bench: THU-KEG/RM-Bench" in fetched.stdout
    offline = run(folder, hub, "fetch", "sets.yaml", HF_HUB_OFFLINE="1")
    assert offline.returncode == 3 and "HF_HUB_OFFLINE is set" in offline.stderr
    dry = run(folder, hub, "fetch", "sets.yaml", "--dry-run", "--json")
    assert json.loads(dry.stdout)["fetched"][0]["folder"] is None
