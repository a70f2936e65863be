"""A web server on this machine that answers what a test says."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, bytes]
"""Status and body."""


class QuietServer(ThreadingHTTPServer):
    """Answers each request in a thread, and says nothing of those who went away."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever asked has gone."""


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Have requests handled at a port, any free one unless told; give the address."""
    server = QuietServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def web_server(answer: Callable[[str, str, bytes], Answer], port: int = 0) -> Iterator[str]:
    """Serve ``answer(method, path, body)``; give the address. Each answer closes its connection."""

    class Handler(BaseHTTPRequestHandler):
        """Asks the function."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, data = answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            if status >= 400:
                self.send_header("content-type", "application/problem+json")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(Handler, port) as url:
        yield url
