"""The site as it is served: gunicorn, two workers of four threads, production settings, HTTP on this machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from gunicorn.config import make_settings

from . import processes

HOST = "127.0.0.1"
WORKERS, THREADS = 2, 4
LENSES = ("stats/", "layers/", "errors/", "costs/")
FAILURES = (OSError, http.client.HTTPException)


class Answer:
    """What came back: a status (0 for a connection that broke), headers, a body, and how long it took in ms."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, took: float) -> None:
        self.status, self.headers, self.body, self.took = status, headers, body, took


class Site:
    def __init__(self, env: Mapping[str, str], log: Path, known: Mapping[str, Any]) -> None:
        self._env, self.log, self.known = env, log, known
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[Any] | None = None

    def started(self) -> Self:
        options = ["--worker-class=gthread", f"--workers={WORKERS}", f"--threads={THREADS}", "--log-level=warning"]
        options += ["--forwarder-headers=", "--limit-request-line=8190"]
        if any("--no-control-socket" in (setting.cli or ()) for setting in make_settings().values()):
            options.append("--no-control-socket")
        command = processes.module("gunicorn", *options, f"--bind={HOST}:{self.port}", "zos_site.wsgi:application")
        self._process = processes.start(command, self._env, self.log)
        try:
            processes.wait_until(self._answers, 60)
        except TimeoutError:
            said = f"{self.login_page().status}, {self.log.read_text()[-1500:]}"
            raise RuntimeError(f"The site does not answer as it should: {said}") from None
        # What a worker loads once belongs to nobody's page. Several at once, so that each worker gets some.
        pages = ["/layer-runs/", f"/layer-runs/{self.known['ids'][0]}/", *(f"/layer-runs/{lens}" for lens in LENSES)]
        with ThreadPoolExecutor(WORKERS * THREADS) as visitors:
            list(visitors.map(self.get, pages * 4))
        return self

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"The site did not start: {self.log.read_text()[-800:]}")
        return self.login_page().status == 200 and len(self.workers) == WORKERS

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process)

    @property
    def workers(self) -> list[int]:
        return processes.children(self._process.pid) if self._process else []

    @property
    def resident_mb(self) -> float:
        """The memory of the larger worker."""
        return max(map(processes.resident_mb, self.workers), default=0.0)

    def kill(self, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)

    def get(self, path: str, *, timeout: float = 60, anonymous: bool = False) -> Answer:
        cookie = {} if anonymous else {"Cookie": f"sessionid={self.known['session']}"}
        return self._ask("GET", path, cookie, timeout)

    def login_page(self, timeout: float = 60) -> Answer:
        """Get the page that anybody gets."""
        return self.get("/admin/login/", anonymous=True, timeout=timeout)

    def log_in(self, timeout: float = 60) -> Answer:
        """Log in by the form: the smallest request that has to write."""
        form = self.login_page(timeout)
        if form.status != 200:
            return form
        cookie = form.headers.get("Set-Cookie", "").split(";")[0]
        token = form.body.partition(b'name="csrfmiddlewaretoken" value="')[2].partition(b'"')[0].decode()
        fields = {"username": "soak", "password": self.known["password"], "csrfmiddlewaretoken": token}
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", "/admin/login/", headers, timeout, urlencode(fields))

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], timeout: float, body: str | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        begun = time.perf_counter()
        try:
            connection.request(method, path, body, {"Connection": "close", **headers})
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, response.headers, content, (time.perf_counter() - begun) * 1000)
        except FAILURES:
            return Answer(0, {}, b"", (time.perf_counter() - begun) * 1000)
        finally:
            connection.close()
