"""The local server: fixed addresses, right types, and nothing else."""

import http.client

import pytest

from lightclip_ms.web.server import open_server


@pytest.fixture
def ask(serve, tmp_path):
    (tmp_path / "app.mjs").write_text("export {};")
    (tmp_path / "secret.txt").write_text("secret")
    routes = {"/app.mjs": tmp_path / "app.mjs", "/": lambda: b"<p>", "/gone.js": tmp_path / "gone.js"}
    with serve(routes) as address:
        host = address.removeprefix("http://").rstrip("/")

        def asking(path, method="GET", headers=None):
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request(method, path, headers=headers or {})
            return connection.getresponse()

        yield asking


def test_files_and_functions_answer_with_their_type(ask):
    answer = ask("/app.mjs")
    assert (answer.status, answer.read(), answer.headers["Content-Type"]) == (
        200,
        b"export {};",
        "text/javascript; charset=utf-8",
    )
    answer = ask("/?from=here")
    assert (answer.read(), answer.headers["Content-Type"]) == (b"<p>", "text/html; charset=utf-8")
    assert "connect-src" not in answer.headers["Content-Security-Policy"]  # so that default-src 'self' governs it
    head = ask("/app.mjs", "HEAD")
    assert (head.headers["Content-Length"], head.read()) == ("10", b"")


@pytest.mark.parametrize("path", ["/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "//secret.txt", "/gone.js"])
def test_other_addresses_are_not_found(ask, path):
    answer = ask(path)
    assert answer.status == 404 and b"secret" not in answer.read()


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com:80", ""])
def test_other_names_for_this_computer_are_refused(ask, host):
    assert ask("/", headers={"Host": host}).status == 404


def test_other_methods_are_refused(ask):
    assert ask("/", "POST").status == 501


def test_a_port_in_use_is_named():
    with open_server({}) as server:
        with pytest.raises(OSError, match=f"port {server.server_address[1]} cannot be opened .*--port"):
            open_server({}, server.server_address[1])
