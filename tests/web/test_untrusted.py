"""What comes from models, data sets, files and addresses stays text; what is damaged shows as damaged and hides nothing else."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from core.data.examples import Media
from core.data.media import MediaError
from dashboards.web.examples import EDGE, encoded
from dashboards.web.trial import tail
from tests.web.conftest import Made

Open = Callable[..., TestClient]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>'\";--"
SWEEP = "/sweep/shown-rehearsal"


def test_words_of_a_model_a_log_and_an_address_are_text(open_page: Open, made: Made) -> None:
    failed = made.fail(7, message=EVIL, cause="user_bug")
    made.workspace.trial(failed.id).attempts()[0].output.write_text(f"\x1b[31m{EVIL}\x1b[0m\x07\n</pre>{EVIL}", encoding="utf-8")
    client = open_page()
    for address in (f"/trial/{failed.id}", "/"):
        page = client.get(address, params={"q": EVIL}).text
        assert "<script>" not in page
        assert "<img src=x" not in page
    log = client.get(f"/trial/{failed.id}").text
    assert "&lt;script&gt;" in log
    assert "\x1b" not in log
    for address in ("/compare", SWEEP, f"{SWEEP}/plot/curves", "/trial/abc", "/cluster"):
        for name in ("side", "view", "metric", "cell", "q", "state", "order", "x", "sweep", "page", "by", "as"):
            answer = client.get(address, params={name: EVIL})
            assert answer.status_code < 500, (address, name, answer.text)
            assert "<script>alert" not in answer.text


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "\\", "head.layers=' OR '1'='1", 'a"b=c', "x" * 5000, "ü=é", "head.layers=1' --"])
def test_a_search_is_no_sql(shared_page: Open, text: str) -> None:
    client = shared_page()
    answer = client.get(SWEEP, params={"view": "trials", "q": text})
    assert answer.status_code == 200
    assert "No trial is like this" in answer.text
    assert client.get(SWEEP, params={"view": "trials", "order": f"train/{text}"}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fweb%2fapp.py",
        "/sweep/..%2f..%2fFORMAT",
        "/sweep/%2e%2e",
        "/trial/..%2f..%2fetc",
        "/sweep/shown-rehearsal%2f..",
        "/trial/0e/../../x",
    ],
)
def test_no_path_leads_out(shared_page: Open, path: str) -> None:
    answer = shared_page().get(path)
    assert answer.status_code in (400, 404)
    assert "create_app" not in answer.text


def test_only_an_attempts_own_logs_are_read(open_page: Open, made: Made, tmp_path: Path) -> None:
    failed = made.plan[6]
    folder = made.workspace.trial(failed.id).attempts()[0].folder
    (tmp_path / "secret").write_text("the secret")
    (folder / "output-1.log").symlink_to(tmp_path / "secret")
    (folder / "output.log").write_text("fine")
    client = open_page()
    for name in ("output-1.log", "../owner.json", "owner.json", "/etc/passwd"):
        answer = client.get(f"/trial/{failed.id}/log", params={"log": name})
        assert answer.status_code == 400
        assert "the secret" not in answer.text
    whole = client.get(f"/trial/{failed.id}/log", params={"log": "output.log"})
    assert whole.text == "fine"
    assert whole.headers["content-disposition"].startswith("attachment")


def test_the_end_of_a_long_log_costs_no_more_than_a_page(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_bytes(b"\xff" * 3_000_000 + b"the end")
    text, size = tail(tmp_path / "output.log")
    assert size == 3_000_007
    assert text.endswith("the end")
    assert len(text) <= 64 * 1024


def picture(kind: str, size: tuple[int, int] = (20, 10)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


def test_an_image_is_encoded_anew_and_never_passed_on() -> None:
    tail_of_html = picture("GIF") + b"<script>alert(1)</script>"
    made = encoded([Media("image", data=tail_of_html)], 0)
    assert made.startswith(b"\x89PNG")
    assert b"script" not in made
    assert max(Image.open(io.BytesIO(encoded([Media("image", data=picture("JPEG", (3000, 100)))], 0))).size) == EDGE


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html>", b"", picture("PNG")[:40]])
def test_what_is_no_picture_is_not_shown(content: bytes) -> None:
    with pytest.raises(MediaError):
        encoded([Media("image", data=content)], 0)
    with pytest.raises(IndexError):
        encoded([], 0)


def test_a_cell_of_a_download_is_no_formula(open_page: Open, made: Made) -> None:
    made.fail(7, cause="=HYPERLINK(1)")
    assert ",'=HYPERLINK(1)," in open_page().get(f"{SWEEP}/trials.csv").text


DAMAGE: dict[str, Callable[[Path], object]] = {
    "configuration": lambda folder: (folder / "config.json").write_text("{"),
    "configuration of another kind": lambda folder: (folder / "config.json").write_text("[]"),
    "owner": lambda folder: (folder / "attempts" / "0001" / "owner.json").write_text("\0"),
    "journal": lambda folder: (folder / "attempts" / "0001" / "journal.jsonl").write_bytes(b'{"v":1,"n":1,"kind"\n\xff\xfe\n'),
    "result": lambda folder: (folder / "result" / "metrics.json").write_text("nonsense"),
    "score table": lambda folder: next(folder.glob("scores/*/table.parquet")).write_bytes(b"PAR1 no"),
    "summary": lambda folder: next(folder.glob("scores/*/summary.json")).write_text(json.dumps({"metrics": []})),
    "attempts": lambda folder: (shutil.rmtree(folder / "attempts"), (folder / "attempts").write_text("a file")),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_corrupt_trial_says_so_and_hides_nothing_else(open_page: Open, made: Made, what: str) -> None:
    broken, other = made.plan[0], made.plan[2]
    DAMAGE[what](made.workspace.trial(broken.id).folder)
    client = open_page()
    page = client.get(f"/trial/{broken.id}")
    assert page.status_code == 200, page.text
    if what not in ("journal", "summary", "attempts"):
        assert "Corrupt." in page.text
    if what in ("configuration", "result", "summary"):
        assert "Not all of shown-rehearsal can be read" in client.get("/").text
    for address in ("/", SWEEP, f"{SWEEP}?view=trials", f"{SWEEP}?view=grid", f"{SWEEP}?view=curves", "/cluster", f"/trial/{other.id}"):
        assert client.get(address).status_code == 200, address
    assert "14 of 24" not in page.text
    assert "examples are wrong" in client.get(f"/trial/{other.id}").text
