"""Who is let in, by requests as an attacker would send them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from edgefsa.errors import InputError
from edgefsa.serve import ServeSink, app, server
from edgefsa.serve.security import Hosts, Rates
from tests.unit.serve.harness import Live, next_frame, serving, wait_until

TOKEN = "correct-horse-battery-staple"
GUARDED = ("/api/figures", "/stream.mjpg", "/snapshot.jpg", "/frame.jpg", "/mask.png", "/metrics", "/recordings/x.mp4")
COMMANDS = {"/api/pause": {"paused": True}, "/api/engine": {"engine": "second"}, "/api/recording": {"recording": True}}


@pytest.fixture
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A view that needs the token."""
    with serving(token=TOKEN, recordings=tmp_path_factory.mktemp("clips")) as live:
        live.feed()
        yield live


def status_of(live: Live, method: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", live.sink.port, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_without_the_token_nothing_of_the_run_is_shown(closed: Live) -> None:
    with closed.client() as client:
        assert {client.get(path).status_code for path in GUARDED} == {401}
        assert {client.post(path, json=value).status_code for path, value in COMMANDS.items()} == {401}
        assert {client.get(path).status_code for path in ("/", "/live.js", "/live.css", "/healthz")} == {200}
        assert "street" not in client.get("/healthz").text + client.get("/").text
    with pytest.raises(InvalidStatus) as refused:
        closed.socket()
    assert refused.value.response.status_code == 403
    assert not closed.run.paused and closed.run.engine.name == "first"


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(closed: Live) -> None:
    with closed.client() as client:
        assert client.post("/api/session", json={"token": TOKEN + "r"}).status_code == 401
        assert not client.cookies
        answer = client.post("/api/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"].lower()
        assert answer.status_code == 204
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
        assert client.get("/api/figures").status_code == 200
        header = answer.headers["set-cookie"].partition(";")[0]
    with closed.socket(additional_headers={"Cookie": header}) as viewer:
        assert next_frame(viewer).index == 0


def test_programs_bring_the_token_in_a_header(closed: Live) -> None:
    basic = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    for value in (f"Bearer {TOKEN}", f"Basic {basic}"):
        assert httpx.get(f"{closed.url}/metrics", headers={"Authorization": value}).status_code == 200
    wrong = base64.b64encode(f"{TOKEN}:".encode()).decode()
    for value in (f"Bearer {TOKEN}x", f"Basic {wrong}", "Basic !!", "Bearer", f"Digest {TOKEN}", "Bearer \udcff"):
        headers = {"Authorization": value.encode("utf-8", "surrogateescape")}
        assert httpx.get(f"{closed.url}/metrics", headers=headers).status_code == 401
    assert "Basic" in httpx.get(f"{closed.url}/stream.mjpg").headers["www-authenticate"]
    assert "www-authenticate" not in httpx.get(f"{closed.url}/api/figures").headers, "the page asks for it itself"


def test_the_token_is_no_address(closed: Live) -> None:
    assert httpx.get(f"{closed.url}/api/figures?token={TOKEN}").status_code == 401


def test_comparing_tokens_takes_no_notice_of_where_they_differ(monkeypatch: pytest.MonkeyPatch, closed: Live) -> None:
    from edgefsa.serve import security

    asked = []
    compare = security.secrets.compare_digest
    monkeypatch.setattr(security.secrets, "compare_digest", lambda *pair: asked.append(pair) or compare(*pair))
    assert httpx.get(f"{closed.url}/metrics", headers={"Authorization": "Bearer guess"}).status_code == 401
    assert asked == [(TOKEN.encode(), b"guess")]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "10.0.0.9", ""])
def test_a_foreign_name_for_this_machine_is_refused(live: Live, host: str) -> None:
    host = host.format(port=live.sink.port)
    live.feed()
    assert status_of(live, "GET", "/snapshot.jpg", Host=host) == 421
    assert status_of(live, "POST", "/api/pause", Host=host, Origin=f"http://{host}") == 421
    with pytest.raises(InvalidStatus):
        live.socket(additional_headers={"Host": host} if host else {"Origin": "null"})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:{port}", "[::1]:{port}"])
def test_names_of_this_machine_are_taken(live: Live, host: str) -> None:
    live.feed()
    assert status_of(live, "GET", "/snapshot.jpg", Host=host.format(port=live.sink.port)) == 200


def test_two_host_headers_are_refused(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.sink.port), timeout=20) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert raw.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "null", "https://localhost.evil.example", "file://"]
)
def test_pages_of_other_sites_are_refused(live: Live, origin: str) -> None:
    live.feed()
    with live.client(headers={"Origin": origin}) as client:
        assert {client.post(path, json=value).status_code for path, value in COMMANDS.items()} == {403}
        assert client.get("/snapshot.jpg").status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        live.socket(additional_headers={"Origin": origin})
    assert refused.value.response.status_code == 403
    assert not live.run.paused


def test_its_own_page_is_heard(live: Live) -> None:
    with live.client(headers={"Origin": live.url}) as client:
        assert client.post("/api/pause", json={"paused": True}).status_code == 200
    assert live.run.paused
    with live.socket(additional_headers={"Origin": live.url}) as viewer:
        assert viewer.recv(timeout=20)


def test_a_form_of_another_page_changes_nothing(live: Live) -> None:
    with live.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = client.post("/api/pause", content=b'{"paused": true}', headers={"content-type": kind})
            assert answer.status_code == 400
        assert client.get("/api/pause").status_code == 405
    assert not live.run.paused


@pytest.mark.parametrize("path", ["/", "/live.js", "/api/figures", "/snapshot.jpg", "/healthz", "/nothing"])
def test_every_answer_binds_the_browser(live: Live, path: str) -> None:
    live.feed()
    headers = httpx.get(live.url + path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers and "access-control-allow-origin" not in headers


def test_the_page_has_no_script_or_style_of_its_own_and_asks_nobody_else(live: Live) -> None:
    with live.client() as client:
        page = client.get("/").text
        assert "<style" not in page and " style=" not in page and " on" + "click" not in page
        assert page.count("<script") == page.count('<script type="module" src="/') == 1
        for path in ("/", "/live.js", "/live.css", "/painter.js", "/charts.js"):
            text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/recordings/..%2f..%2f..%2fetc%2fpasswd.mp4",
        "/recordings/../../etc/passwd.mp4",
        "/recordings/%2e%2e/x.mp4",
        "/..%2fsink.py",
        "/page/live.js",
        "/live.js/../sink.py",
    ],
)
def test_no_path_reaches_the_file_system(live: Live, path: str) -> None:
    assert status_of(live, "GET", path) == 404


def test_requests_are_bounded_in_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rates.__init__, "__defaults__", (5, 1.0))
    with serving() as live, live.client() as client:
        live.feed()
        found = [client.get("/healthz").status_code for _ in range(5)]
        while found[-1] == 200:
            found.append(client.get("/healthz").status_code)
        assert found[-1] == 429
        with pytest.raises(InvalidStatus):
            live.socket()
        wait_until(lambda: client.get("/healthz").status_code == 200)


def test_rates_forget_addresses() -> None:
    rates = Rates(burst=2, rate=0.0)
    assert [rates.take("a") for _ in range(3)] == [True, True, False]
    for number in range(2000):
        assert rates.take(f"address {number}")
    assert rates.take("a")


def test_a_body_that_is_too_long_or_slow_is_not_waited_for(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with live.client() as client:
        huge = '{"paused": true, "x": "' + "x" * 100_000 + '"}'
        answer = client.post("/api/pause", content=huge, headers={"content-type": "application/json"})
        assert answer.status_code == 400 and "4096 bytes" in answer.json()["error"]
    monkeypatch.setattr(app, "_BODY_TIMEOUT_S", 0.3)
    with socket.create_connection(("127.0.0.1", live.sink.port), timeout=20) as raw:
        raw.sendall(
            b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 16\r\n\r\n{"paused"'
        )
        assert raw.recv(100).split()[1] == b"400"
    assert not live.run.paused


def test_headers_that_are_too_long_are_refused(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.sink.port), timeout=20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 60_000)
        assert raw.recv(100).split()[1] == b"400"


def test_connections_are_bounded_in_number_and_in_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(server, "_REQUEST_TIMEOUT_S", 1.0)
    with serving() as live:
        idle = [socket.create_connection(("127.0.0.1", live.sink.port), timeout=20) for _ in range(12)]
        for connection in idle:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b"", "nothing was asked, so nothing is said"
            connection.close()
        live.feed()
        assert httpx.get(f"{live.url}/healthz").status_code == 200


def test_nothing_about_the_token_is_logged_or_noted(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(token=TOKEN) as live, live.client() as client:
        client.post("/api/session", json={"token": TOKEN})
        client.get(f"/api/figures?token={TOKEN}")
        with live.socket(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as viewer:
            viewer.recv(timeout=20)
        assert TOKEN not in client.get("/api/figures").text + " ".join(live.notes)
    assert TOKEN not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "starlette", "edgefsa"))
    )
    assert TOKEN not in "".join(capfd.readouterr())


def test_any_other_address_makes_a_token_and_says_it_once_in_the_link() -> None:
    with serving(host="0.0.0.0") as live:
        live.feed()
        [note] = live.notes
        link, _, token = note.removeprefix("live view: ").partition("#token=")
        assert link.startswith("http://") and link.endswith(f":{live.sink.port}/") and len(token) >= 43
        assert httpx.get(f"{live.url}/metrics").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        shown = httpx.get(f"{live.url}/api/figures", headers=headers)
        assert shown.status_code == 200 and token not in shown.text
        assert httpx.get(f"{live.url}/metrics", headers=headers | {"Host": "evil.example"}).status_code == 421
        assert httpx.get(f"{live.url}/metrics", headers=headers | {"Host": "192.168.7.7"}).status_code == 200
    with serving(host="0.0.0.0") as other:
        assert token not in other.notes[0]


def test_names_of_a_proxy_need_a_token_too() -> None:
    with serving(allow_hosts=["Board.example"]) as live:
        assert "#token=" in live.notes[0]
        with live.client(headers={"Host": "board.example", "Origin": "https://board.example"}) as client:
            assert client.get("/api/figures").status_code == 401
            token = live.notes[0].partition("#token=")[2]
            headers = {"X-Forwarded-Proto": "https"}
            answer = client.post("/api/session", json={"token": token}, headers=headers)
            assert answer.status_code == 204 and "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    "token", ["short", "", "x" * 15, "with spaces in between it", "semicolon;semicolon;", "é" * 20]
)
def test_a_token_that_can_be_guessed_or_not_sent_is_refused(token: str) -> None:
    with pytest.raises(InputError, match=f"the token has {len(token)} characters"):
        ServeSink(token=token)


def test_hosts_of_an_open_server() -> None:
    hosts = Hosts(loopback=False, allowed=[])
    assert hosts.known(socket.gethostname()) and hosts.known("[fe80::1]:80")
    assert not any(hosts.known(name) for name in ("evil.example", "[broken", "127.0.0.1.evil.example", "user@evil"))


def test_a_cookie_does_not_cross_to_another_port() -> None:
    with serving(token=TOKEN) as one, serving(token=TOKEN[::-1]) as two, one.client() as first, two.client() as second:
        first.post("/api/session", json={"token": TOKEN})
        second.post("/api/session", json={"token": TOKEN[::-1]})
        assert set(first.cookies.keys()).isdisjoint(second.cookies.keys())
        both = {**first.cookies, **second.cookies}
        header = {"Cookie": "; ".join(f"{name}={value}" for name, value in both.items())}
        assert httpx.get(f"{one.url}/metrics", headers=header).status_code == 200
        assert httpx.get(f"{two.url}/metrics", headers=header).status_code == 200
