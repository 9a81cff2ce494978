"""Processes of the soak: each in a group of its own, each ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_running: list[subprocess.Popen[Any]] = []


def environment(url: str, directory: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process of the site on a database, whatever the shell around says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATABASE_"))}
    own = {
        "DATABASE_URL": url,
        "DJANGO_SECRET_KEY": "soak " * 12,
        "DJANGO_SETTINGS_MODULE": "soak.settings",
        "SOAK_DIR": str(directory),
        "PYTHONUNBUFFERED": "1",
    }
    return kept | own | more


def start(command: Sequence[str], env: Mapping[str, str], log: Path, **options: Any) -> subprocess.Popen[Any]:
    """Start a process whose output goes to the end of a file, away from the Ctrl-C of the terminal."""
    with log.open("ab") as file:
        options = {"stdout": file, "stderr": file} | options
        process = subprocess.Popen(command, env=dict(env), cwd=ROOT, start_new_session=True, **options)
    _running.append(process)
    return process


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def finish(command: Sequence[str], env: Mapping[str, str], log: Path, timeout: float = 900) -> int:
    """Run a process to its end and return its exit code."""
    return start(command, env, log).wait(timeout)


def run(command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
    """Run a process that has to succeed. Raises RuntimeError with the end of what it said."""
    if code := finish(command, env, log):
        raise RuntimeError(f"{command[1:4]} ended with {code}: {log.read_text(errors='replace')[-800:]}")


def end(process: subprocess.Popen[Any], number: signal.Signals = signal.SIGTERM, patience: float = 20) -> None:
    """Ask a process and its children to end, then make them."""
    for each, seconds in ((number, patience), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            break
        try:
            os.killpg(process.pid, each)
            process.wait(seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    # Children may outlive a parent that was killed.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def end_all() -> None:
    """End whatever is still running, the youngest first."""
    while _running:
        end(_running.pop(), patience=5)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB, 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def wait_until(happened: Any, seconds: float, every: float = 0.02) -> float:
    """Wait until something is true and return how many seconds that took. Raises TimeoutError."""
    begun = time.monotonic()
    while not happened():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{getattr(happened, '__name__', happened)} did not happen within {seconds} s")
        time.sleep(every)
    return time.monotonic() - begun
