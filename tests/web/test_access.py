"""Who gets an answer, and what a browser may do with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from core.errors import EnvironmentFault
from dashboards.web.access import COOKIE, Access
from dashboards.web.serve import access_for, link

Open = Callable[..., TestClient]
TOKEN = "correct horse battery staple"


def test_without_the_token_nothing_is_said(shared_page: Open) -> None:
    client = shared_page(token=TOKEN)
    for address in ("/", "/sweep/shown-rehearsal", "/static/app.js", "/nothing", "/?token=", "/?token=wrong", "/?token=correct"):
        answer = client.get(address)
        assert answer.status_code == 401, address
        assert "shown" not in answer.text
    client.cookies.set(COOKIE, "0" * 64)
    assert client.get("/").status_code == 401
    client.cookies.set(COOKIE, TOKEN)
    assert client.get("/").status_code == 401, "the cookie is a proof, not the token"


def test_the_link_signs_in_and_takes_the_token_out_of_the_address(shared_page: Open) -> None:
    client = shared_page(token=TOKEN)
    answer = client.get("/compare", params={"side": "a b", "token": TOKEN})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/compare?side=a+b"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite" in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200


def test_signing_in_leads_to_no_other_server(shared_page: Open) -> None:
    client = shared_page(token=TOKEN)
    for path in ("//evil.example/x", "/%5Cevil.example", "///evil.example"):
        answer = client.get(f"http://testserver{path}", params={"token": TOKEN})
        found = urlsplit(answer.headers.get("location", "/"))
        assert not found.netloc
        assert not answer.headers.get("location", "/").startswith(("//", "/\\"))


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("dashboards.web.access.hmac.compare_digest", lambda a, b: bool(seen.append((a, b))) or a == b)
    access = Access(TOKEN)
    assert access.knows_token(TOKEN)
    assert not access.knows_token("x")
    assert not access.knows_proof("ü")
    assert len(seen) == 3


def test_a_foreign_name_for_this_machine_gets_no_answer(shared_page: Open) -> None:
    client = shared_page(hosts=("127.0.0.1", "localhost", "::1"))
    for host, status in (
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("127.0.0.1:5001", 200),
        ("[::1]:5001", 200),
        ("localhost", 200),
    ):
        assert client.get("/", headers={"Host": host}).status_code == status, host


def test_nothing_can_be_changed(shared_page: Open) -> None:
    client = shared_page()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/").status_code == 405
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "address", ["/", "/sweep/shown-rehearsal", "/nothing", "/static/app.js", "/sweep/shown-rehearsal/plot/grid", "/trial/zz"]
)
def test_every_answer_forbids_what_is_not_ours(shared_page: Open, address: str) -> None:
    headers = shared_page().get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe" not in policy
    assert "unsafe-eval" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


def test_no_page_holds_a_script_a_style_or_another_host(shared_page: Open) -> None:
    """The policy would stop them: then a page would be broken, not unsafe."""
    client = shared_page()
    for address in (
        "/",
        "/cluster",
        "/compare",
        *(f"/sweep/shown-rehearsal?view={view}" for view in ("table", "grid", "trials", "curves")),
    ):
        page = client.get(address).text
        assert not re.search(r"<script(?! src=\"/static/app.js\" defer></script>)", page)
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert set(re.findall(r"(?:src|href|action|srcset)=\"(https?:[^\"]+)", page)) <= {"http://127.0.0.1:5000"}


def test_beyond_loopback_a_token_is_made_and_stands_in_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEP_UI_TOKEN", raising=False)
    assert access_for("127.0.0.1").token is None
    made = access_for("0.0.0.0")
    assert made.token is not None
    assert len(made.token) >= 32
    assert made.token != access_for("0.0.0.0").token
    assert link("10.0.0.7", 5001, made).endswith(f"10.0.0.7:5001/?token={made.token}")
    assert made.token not in repr(made)
    monkeypatch.setenv("SWEEP_UI_TOKEN", TOKEN)
    assert access_for("0.0.0.0").token == access_for("127.0.0.1").token == TOKEN
    monkeypatch.setenv("SWEEP_UI_TOKEN", "short")
    with pytest.raises(EnvironmentFault):
        access_for("127.0.0.1")
