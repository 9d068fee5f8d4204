"""The pages say what the files say, in every view, and each view has an address and a download."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Callable
from html import unescape

import pytest
from starlette.testclient import TestClient

from core.store import Index, StateRow
from core.workspace import holds, nights
from dashboards.web.data import Data
from sweeps.cluster_state import ClusterWatch
from tests.web.conftest import ITEMS, Made

Open = Callable[..., TestClient]
SWEEP = "/sweep/shown-rehearsal"


def text(client: TestClient, address: str, status: int = 200) -> str:
    """The words of a page, once what it works out is there."""
    for _ in range(200):
        answer = client.get(address)
        assert answer.status_code == status, answer.text
        if "being worked out" not in answer.text:
            break
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def rows(client: TestClient, address: str) -> list[dict[str, str]]:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_overview_counts_what_is_done_and_why_something_failed(shared_page: Open) -> None:
    page = text(shared_page(), "/")
    assert "shown-rehearsal" in page
    assert "6/12" in page
    assert "user_bug 1" in page
    assert "5 pending" in page


def test_the_table_is_the_commands_table_with_reported_values_and_a_verdict(shared_page: Open) -> None:
    client = shared_page()
    page = text(client, SWEEP)
    assert "REHEARSAL" in page
    assert "(90.0)" in page
    assert "head.layers=2 optim.lr=3e-06" in page.split("Which is best", 1)[1]
    assert "failed (user_bug)" in page
    table = rows(client, f"{SWEEP}/table.csv")
    assert [row["name"] for row in table][:2] == ["head.layers=1 optim.lr=1e-05", "head.layers=1 optim.lr=3e-06"]


def test_the_table_shows_ensembles_and_why_one_is_missing(shared_page: Open) -> None:
    client = shared_page()
    page = text(client, f"{SWEEP}?view=table")
    assert "both rates/mean (ensemble)" in page and "all heads/mean (ensemble)" in page
    assert "all heads/mean: seeds 0, 1: waiting: for head.layers=3 optim.lr=1e-05 (pending" in page
    found = {row["name"]: row for row in rows(client, f"{SWEEP}/table.csv")}
    assert (found["both rates/mean"]["kind"], found["both rates/mean"]["n"], found["all heads/mean"]["n"]) == ("ensemble", "2", "0")


@pytest.mark.parametrize("view", ["grid", "curves", "intervals", "importance", "parallel"])
def test_a_figure_is_a_page_a_picture_and_a_table(shared_page: Open, view: str) -> None:
    client = shared_page()
    assert "The numbers behind it" in text(client, f"{SWEEP}?view={view}")
    for query, kind in (("as=svg&theme=dark", "image/svg+xml"), ("as=png&width=half", "image/png")):
        picture = client.get(f"{SWEEP}/plot/{view}?{query}")
        assert picture.status_code == 200
        assert picture.headers["content-type"] == kind
    assert rows(client, f"{SWEEP}/plot/{view}?as=csv")


def test_the_grid_is_coloured_by_what_needs_a_readers_eye(shared_page: Open) -> None:
    page = shared_page().get(f"{SWEEP}?view=grid&x=optim.lr&y=head.layers").text
    assert re.search(r'class="state-failed"><a [^>]*>1 failed, 1 pending', page)
    assert re.search(r'class="state-completed"><a [^>]*>2 completed', page)


def test_curves_are_laid_over_each_other_by_step_or_by_working_time(shared_page: Open) -> None:
    client = shared_page()
    lines = rows(client, f"{SWEEP}/plot/curves?as=csv&metric=validation/accuracy&x=step")
    assert {(row["step"], row["validation/accuracy"]) for row in lines} == {("10.0", "0.1"), ("20.0", "0.2")}
    assert {row["cell"] for row in lines} == {
        "head.layers=1 optim.lr=1e-05",
        "head.layers=1 optim.lr=3e-06",
        "head.layers=2 optim.lr=1e-05",
    } | ({row["cell"] for row in lines} - {"head.layers=1 optim.lr=1e-05"})
    minutes = rows(client, f"{SWEEP}/plot/curves?as=csv&metric=train/loss&x=time&cell=head.layers=1%20optim.lr=1e-05")
    assert float(minutes[0]["time"]) == 0
    assert float(minutes[-1]["time"]) > 0


def test_trials_are_filtered_ordered_and_paged_by_the_address(shared_page: Open) -> None:
    client = shared_page()
    every = rows(client, f"{SWEEP}/trials.csv")
    assert len(every) == 12
    best = rows(client, f"{SWEEP}/trials.csv?order=generated_images/accuracy&down=1")
    scores = [float(row["generated_images/accuracy"]) for row in best if row["generated_images/accuracy"]]
    assert scores == sorted(scores, reverse=True)
    assert [row["generated_images/accuracy"] for row in best[6:]] == [""] * 6, "what has no value comes last"
    assert {row["state"] for row in rows(client, f"{SWEEP}/trials.csv?state=failed")} == {"failed"}
    assert len(rows(client, f"{SWEEP}/trials.csv?q=head.layers=2")) == 4
    assert len(rows(client, f"{SWEEP}/trials.csv?q=head.layers=2+optim.lr=3e-06")) in (0, 2)
    assert len(rows(client, f"{SWEEP}/trials.csv?cell=head.layers=3+optim.lr=1e-05")) == 2
    assert "12" in text(client, f"{SWEEP}?view=trials")


def test_a_trial_shows_its_configuration_attempts_scores_and_mistakes_with_pictures(shared_page: Open, shared: Made) -> None:
    client = shared_page()
    planned = shared.plan[0]
    page = text(client, f"/trial/{planned.id}")
    assert "12 of 24 examples are wrong" in page
    assert "What colour" in page or "Preferred" in page
    assert "head.layers 1" in page
    sources = re.findall(r'<img src="(/trial/[^"]+/image/[^"]+)"', client.get(f"/trial/{planned.id}").text)
    assert len(sources) == 5
    picture = client.get(sources[0])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    table = rows(client, f"/trial/{planned.id}/examples.csv")
    assert len(table) == ITEMS
    assert [float(row["margin"]) for row in table] == sorted(float(row["margin"]) for row in table)
    failed = text(client, f"/trial/{shared.plan[6].id}")
    assert "user_bug" in failed
    assert "no space" in failed


def test_an_open_trial_is_what_control_has_derived_until_it_moves_on(open_page: Open, made: Made) -> None:
    client = open_page()
    planned = made.plan[8]
    with Index.open(made.workspace) as index:
        index.record_states([StateRow(planned.id, "blocked", reason="waits for the stage features")])
    page = text(client, f"/trial/{planned.id}")
    assert "blocked waits for the stage features" in page
    made.fail(8)
    assert "failed" in text(client, f"/trial/{planned.id}")


def test_the_overview_leads_with_what_is_best_and_how_sure_that_is(open_page: Open) -> None:
    client = open_page()
    text(client, SWEEP)
    page = text(client, "/")
    assert "head.layers=2 optim.lr=1e-05 is better than every other cell (t over seeds and examples" in page
    assert "its mistakes" in page


def test_the_first_digits_of_a_trial_lead_to_it(shared_page: Open, shared: Made) -> None:
    answer = shared_page().get(f"/trial/{shared.plan[0].id[:8]}")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/trial/{shared.plan[0].id}"


def test_a_comparison_says_how_sure_it_is_and_where_the_two_disagree(shared_page: Open, shared: Made) -> None:
    client = shared_page()
    a, b = shared.plan[0], shared.plan[4]
    page = text(client, f"/compare?side={a.id[:12]}&side={b.id[:12]}")
    assert "12 right in both, 0 only in the first, 8 only in the second, 4 in neither" in page
    assert "generated_images/accuracy" in page
    found = rows(client, f"/compare?side={a.id[:12]}&side={b.id[:12]}&csv=1")
    assert {row["metric"] for row in found} >= {"generated_images/accuracy"}
    assert "picked" in text(client, "/compare?sweep=shown-rehearsal&cell=head.layers=1+optim.lr=1e-05")
    margins = rows(client, f"/compare?side={a.id[:12]}&side={b.id[:12]}&examples=1")
    assert len(margins) == ITEMS and sum(row["first is right"] != row["second is right"] for row in margins) == 8
    picture = client.get(f"/compare/plot?side={a.id[:12]}&side={b.id[:12]}&as=png&save=1")
    assert picture.status_code == 200 and picture.content.startswith(b"\x89PNG") and "attachment" in picture.headers["content-disposition"]


ENSEMBLE = "sweep=shown-rehearsal&name=both rates/mean"


def test_an_ensemble_shows_its_members_and_its_mistakes_with_pictures(shared_page: Open, shared: Made) -> None:
    client = shared_page()
    assert "/ensemble?sweep=shown-rehearsal&amp;name=both%20rates%2Fmean" in client.get(SWEEP).text
    page = text(client, f"/ensemble?{ENSEMBLE}")
    assert "head.layers=1 optim.lr=1e-05 , seed 0 completed head.layers=1 optim.lr=3e-06 , seed 0 completed" in page
    assert re.search(rf"\d+ of {ITEMS} examples are wrong", page) and "Preferred" in page
    picture = re.search(r'<img src="(/trial/[^"]+)"', client.get(f"/ensemble?{ENSEMBLE}").text)
    assert picture is not None and client.get(picture[1]).headers["content-type"] == "image/png"
    assert len(rows(client, f"/ensemble?{ENSEMBLE}&csv=1")) == ITEMS
    assert "no such seed" in text(client, f"/ensemble?{ENSEMBLE}&seed=7", 400)
    assert "no such cell" in text(client, "/ensemble?sweep=shown-rehearsal&name=nobody", 400)


def test_an_ensemble_that_lacks_a_member_says_what_it_waits_for(shared_page: Open) -> None:
    assert "It waits for" in text(shared_page(), "/ensemble?sweep=shown-rehearsal&name=all heads/mean")


def test_an_ensemble_is_compared_with_a_cell_example_by_example(shared_page: Open, shared: Made) -> None:
    client = shared_page()
    sides = "side=shown-rehearsal:ensemble=both rates/mean&side=shown-rehearsal:head.layers=1,optim.lr=1e-05"
    page = text(client, f"/compare?{sides}")
    assert f"Ensemble both rates/mean (first, seed 0) and Trial {shared.plan[0].id[:10]} (second, seed 0), {ITEMS} examples" in page
    assert len(rows(client, f"/compare?{sides}&examples=1")) == ITEMS
    assert "shown-rehearsal:ensemble=both rates/mean" in client.get("/compare").text, "the form offers it"


def test_the_cluster_page_counts_hours_and_what_was_for_nothing_by_cause(shared_page: Open) -> None:
    client = shared_page()
    page = text(client, "/cluster")
    assert "No worker has been submitted" in page
    assert "No nightly grid" in page
    (waste,) = rows(client, "/cluster?waste=1")
    assert (waste["sweep"], waste["cause"], waste["attempts"]) == ("shown-rehearsal", "user_bug", "1")
    assert float(waste["hours for nothing"]) > 0


def test_the_cluster_page_shows_queue_nights_and_holds(open_page: Open, made: Made) -> None:
    identity = {"host": "elsewhere", "boot": "b", "pid": 1, "started": 1.0}
    for number in (1, 2):
        folder = made.workspace.jobs / f"rs-shown-rehearsal-000{number}"
        folder.mkdir(parents=True)
        order = {"v": 1, "sweep": "shown-rehearsal", "revision": 1, "shape": {"gpus": 4}, "created": 1.79e9 + number, "submitter": identity}
        (folder / "job.json").write_text(json.dumps(order))
        (folder / "submitted.json").write_text(json.dumps({"job_id": str(number), **identity}))
    (folder / "left.json").write_text(json.dumps({"reason": "nothing is left to do"}))
    grid = nights.Grid("weekly", "shown-rehearsal", "20:00-07:00", "daily", "Europe/Berlin", 512.0, created=time.time() - 3 * 86400)
    nights.add(made.workspace, grid)
    holds.set_hold(made.workspace.root / "HOLD", "<b>lunch</b>")
    client = open_page()
    page = text(client, "/cluster?state=all")
    assert "HOLD on this workspace" in page and "<b>lunch</b>" in page
    assert "20:00-07:00 Europe/Berlin, daily; 512 GPU-h a night" in page
    assert "missed: no pass was made in it" in page
    assert "nothing is left to do" in page
    assert [row["gpus"] for row in rows(client, "/cluster?state=all&csv=1")] == ["4", "4"]
    assert [row["key"] for row in rows(client, "/cluster?state=left&csv=1")] == ["rs-shown-rehearsal-0002"]


WRONG_WINDOW = {"name": "broken", "sweep": "shown-rehearsal", "window": "x", "days": "y", "zone": "z"}


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "broken"}', json.dumps(WRONG_WINDOW)])
def test_a_nightly_grid_that_cannot_be_read_shows_as_corrupt_and_hides_no_other(open_page: Open, made: Made, content: str) -> None:
    nights.add(made.workspace, nights.Grid("whole", "shown-rehearsal", "20:00-07:00", "daily", "Europe/Berlin", created=time.time()))
    (made.workspace.nights / "broken").mkdir()
    (made.workspace.nights / "broken" / "grid.json").write_text(content)
    page = text(open_page(), "/cluster")
    assert "20:00-07:00 Europe/Berlin, daily; no budget" in page
    assert re.search("broken.{0,20}Corrupt", page, re.DOTALL) and "No worker has been submitted" in page


def test_many_readers_of_the_cluster_page_cost_one_look(open_page: Open, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboards.web.data.CLUSTER_SECONDS", 1e6)
    looks: list[int] = []
    look = ClusterWatch.look
    monkeypatch.setattr(ClusterWatch, "look", lambda self: looks.append(1) or look(self))
    client = open_page()
    for _ in range(5):
        assert client.get("/cluster").status_code == 200
    assert len(looks) == 1


def test_a_table_stands_in_until_the_next_one_is_there(shared_data: Data) -> None:
    go_on = threading.Event()

    def slowly() -> str:
        assert go_on.wait(30)
        return "two"

    assert shared_data.latest("question", 1, lambda: "one", patience=30) == ("one", True)
    assert shared_data.latest("question", 2, slowly, patience=0.05) == ("one", False)
    assert shared_data.latest("question", 3, lambda: "three", patience=30) == ("one", False), "the second is still being made"
    go_on.set()
    shared_data.soon("question", 2, lambda: "", patience=30)
    assert shared_data.latest("question", 3, lambda: "three", patience=30) == ("three", True)


def test_a_page_stays_right_when_the_sweep_moves_on(open_page: Open, made: Made) -> None:
    client = open_page()
    address = f"{SWEEP}?view=trials"
    version = re.search(r'data-version="([^"]+)"', client.get(address).text)
    assert version is not None
    assert client.get(address, headers={"X-Version": version[1]}).status_code == 204
    made.complete(8, 20, 0.9)
    made.data().close()
    assert client.get(address, headers={"X-Version": version[1]}).status_code == 200
    assert "7 completed" in text(client, address)


def test_a_choice_that_is_not_there_is_answered_with_those_that_are(shared_page: Open) -> None:
    client = shared_page()
    assert "did you mean" in text(client, f"{SWEEP}?view=tabel", 400).lower() or "table" in text(client, f"{SWEEP}?view=tabel", 400)
    assert "generated_images/accuracy" in text(client, f"{SWEEP}?view=intervals&metric=generated_images/acuracy", 400)
    assert "shown-rehearsal" in text(client, "/sweep/showm", 404)
    for address in ("/trial/zz", "/trial/0000000000000000", f"{SWEEP}/plot/pie", "/nothing"):
        assert client.get(address).status_code in (400, 404)
    assert client.get(f"{SWEEP}?view=trials&page=-1").status_code == 400
    assert client.get(f"{SWEEP}?view=trials&page=99999").status_code == 200
