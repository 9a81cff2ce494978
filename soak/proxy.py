"""A stand-in for the proxy in front of the site: it passes a request on once all of it is there, as nginx does."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .site import HOST

PATIENCE = 10
LINES = 200


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__((HOST, 0), _Visit)
        self.port = port


class _Visit(socketserver.StreamRequestHandler):
    timeout = PATIENCE
    server: _Proxy

    def handle(self) -> None:
        with suppress(OSError):
            if not (request := self._whole()):
                return
            with socket.create_connection((HOST, self.server.port)) as site:
                site.sendall(request)
                while some := site.recv(65_536):
                    self.wfile.write(some)

    def _whole(self) -> bytes:
        head, length = [], 0
        while len(head) < LINES and (line := self.rfile.readline(65_536)):
            head.append(line)
            if line == b"\r\n":
                body = self.rfile.read(length)
                return b"".join([*head, body]) if len(body) == length else b""
            name, _colon, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return b""


@contextmanager
def buffering(port: int) -> Iterator[int]:
    """Stand before a site and return the port to ask instead of its own."""
    with _Proxy(port) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
