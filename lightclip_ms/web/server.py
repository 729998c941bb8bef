"""A local web server of fixed addresses: each answers with one file or some bytes, everything else is not found."""

import http.server
import mimetypes
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

# Registered types differ between machines, and a module script of the wrong type does not run.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
_HEADERS = {
    # Nothing that the page is given can leave it: the browser refuses every address but this server's.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the next one: threads, which need shared memory
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def open_server(routes: Mapping[str, Path | Callable[[], bytes]], port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet serving; `server_address[1]` is its port, and a port of 0 takes a free one.

    Args:
        routes: address, such as "/app.js", to a file or to a function that returns the body. The address's ending
            gives the type.

    Raises:
        OSError: the port is in use.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        """GET and HEAD of `routes`."""

        def do_GET(self):
            self._answer(send_body=True)

        def do_HEAD(self):
            self._answer(send_body=False)

        def _answer(self, send_body: bool) -> None:
            address = self.path.partition("?")[0]
            # Another site may have its own name point here, and would then read this server as its own.
            if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL or address not in routes:
                self.send_error(404)
                return
            source = routes[address]
            try:
                if isinstance(source, Path):
                    with open(source, "rb") as file:
                        self._begin(address, source.stat().st_size)
                        if send_body:
                            shutil.copyfileobj(file, self.wfile, 1 << 20)
                else:
                    body = source()
                    self._begin(address, len(body))
                    if send_body:
                        self.wfile.write(body)
            except FileNotFoundError:
                self.send_error(404)
            except ConnectionError:  # the page was closed or loaded again meanwhile
                self.close_connection = True

        def _begin(self, address: str, length: int) -> None:
            suffix = Path("/index.html" if address == "/" else address).suffix
            kind = _TYPES.get(suffix) or mimetypes.guess_type(address)[0] or "application/octet-stream"
            self.send_response(200)
            for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing: the terminal is for the page's address."""

    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise OSError(f"port {port} cannot be opened ({error.strerror}); give another one with --port") from None
