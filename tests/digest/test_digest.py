"""The digest says what happened in a time, and reaches those who were not there."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from core.errors import EnvironmentFault, UsageError
from core.workspace.layout import Workspace
from core.workspace.registration import register
from dashboards.digest import Best, Digest, SweepNews, html, markdown
from sweeps.cli.main import app
from sweeps.digest import mail, make, post, seconds_of
from tests.written import CLOCK, Writer, planned, publish, trial_id

EVIL = "<script>alert(1)</script> *b* [x](y)"
NEWS = SweepNews(
    EVIL, True, {"completed": 2, "failed": 1}, {"failed": 1}, {"user_bug": (1, f"mend {EVIL}")}, (1.5, 12.0), False,
    [Best("bench/overall", [EVIL], "share")],
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """One trial that ended, one that failed an hour of its clock later, and a sweep that never began."""
    workspace = Workspace.open(tmp_path / "runs", create=True)
    meta = {
        "name": "heads", "project": "p", "rehearsal": False, "source": "heads.yaml", "overrides": [], "reported": [],
        "objective": {"metric": "validation/accuracy", "mode": "max"},
    }  # fmt: skip
    for name, trials in (("heads", [planned(1), planned(2)]), ("quiet", [planned(9)])):
        sweep = workspace.sweep(name)
        register(workspace, sweep, meta={**meta, "name": name, "digest": name}, definition="", code=[], trials=trials)
    Writer(workspace.trial(trial_id(1)), 1).steps(1, 20).end()
    publish(workspace.trial(trial_id(1)), 1, {"validation/accuracy": 0.9}, steps=20)
    CLOCK.now += 3600
    Writer(workspace.trial(trial_id(2)), 1).steps(1, 5).end("failed", cause="user_bug", message="no")
    return workspace


def test_a_digest_tells_of_its_time_alone(place: Workspace) -> None:
    whole = make(place, [], CLOCK.now - 7200, CLOCK.now + 1)
    (news,) = whole.news
    assert (news.sweep, news.ended, whole.quiet) == ("heads", {"completed": 1, "failed": 1}, ["quiet"])
    assert news.failed["user_bug"][0] == 1
    assert "sweep logs" in news.failed["user_bug"][1]
    assert not news.complete
    late = make(place, [], CLOCK.now - 60, CLOCK.now + 1)
    assert late.news[0].ended == {"failed": 1}
    assert 0 < late.news[0].hours[0] < whole.news[0].hours[0]
    assert make(place, [], CLOCK.now + 10, CLOCK.now + 20).news == []
    assert [one.sweep for one in make(place, ["quiet"], CLOCK.now, CLOCK.now + 1).news] == ["quiet"], "what is asked about is told"


def test_names_are_text_in_markdown_and_html() -> None:
    digest = Digest(0, 1, [NEWS], ["a_b"])
    page = html(digest)
    assert "<script>" not in page
    assert EVIL not in page
    assert not re.search(r"https?://", page), "it asks nothing of another host"
    text = markdown(digest)
    assert r"\*b\*" in text
    assert "<script>" not in text.replace(r"\<", "")
    assert "failed, user\\_bug: 1" in text
    table = replace(NEWS, complete=True, table="| a |\n|---|\n| 1 |")
    assert "| 1 |" in markdown(Digest(0, 1, [table]))


@pytest.fixture
def chat() -> Iterator[tuple[str, list[bytes]]]:
    """A chat server on this machine that takes what is posted to /good."""
    taken: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            good = self.path == "/good"
            taken.extend([body] if good else [])
            self.send_response(200 if good else 403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_the_text_and_its_refusal_is_said(chat: tuple[str, list[bytes]]) -> None:
    address, taken = chat
    post(Digest(0, 1, [NEWS]), f"{address}/good")
    assert json.loads(taken[0])["text"] == markdown(Digest(0, 1, [NEWS]))
    with pytest.raises(EnvironmentFault) as caught:
        post(Digest(0, 1, []), f"{address}/secret-path")
    assert "403" in str(caught.value.found)
    assert "secret-path" not in str(caught.value)
    for wrong in ("file:///etc/passwd", "ftp://x/y", "nonsense"):
        with pytest.raises(UsageError):
            post(Digest(0, 1, []), wrong)


def test_a_mail_command_gets_it_on_its_input_and_no_shell_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "mail"
    script = tmp_path / "mail.py"
    script.write_text(f"import sys; open({str(out)!r}, 'w').write(repr(sys.argv[1:]) + sys.stdin.read())")
    mail("the text", f"{sys.executable} {script} -s 'a b; rm x' $HOME")
    assert out.read_text() == "['-s', 'a b; rm x', '$HOME']the text"
    for wrong, kind in (("", UsageError), ("'", UsageError), (str(tmp_path / "nothing"), EnvironmentFault), ("false", EnvironmentFault)):
        with pytest.raises(kind):
            mail("", wrong)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("90m", 5400), ("7d", 604800), ("1.5h", 5400)])
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    for wrong in ("", "h", "24", "-1h", "1y", "1h 2m"):
        with pytest.raises(UsageError):
            seconds_of(wrong)


def test_the_command_writes_a_file_or_prints(place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["digest", "heads", "--workspace", str(place.root)]
    assert app([*words, "--format", "html", "-o", str(tmp_path / "d.html")], standalone_mode=False) == 0
    assert (tmp_path / "d.html").read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert app(words, standalone_mode=False) == 0
    assert "## heads" in capsys.readouterr().out
