"""Ctrl-C and SIGTERM, for commands that work in batches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError


class Stopping:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def is_asked_for(self) -> bool:
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let a signal end the command after the batch in hand; a second one ends it at once."""

        def stop(number: int, frame: Any) -> None:
            if self.signal:
                raise KeyboardInterrupt
            self.signal = signal.Signals(number)

        if threading.current_thread() is not threading.main_thread():
            yield  # Only the main thread hears signals.
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def exit_if_asked(self) -> None:
        """Raise CommandError with the exit code that a shell gives a process ended by that signal."""
        if self.signal:
            raise CommandError(f"Stopped by {self.signal.name}. Run it again to go on.", returncode=128 + self.signal)
