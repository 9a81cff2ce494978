"""The log: one event, one line, in UTC, whatever the text in it would do to a terminal or to a reader."""

from __future__ import annotations

import logging
import time

# What Django calls suspicious, and is a stranger's or a link's mistake: by the name of its exception.
REFUSED_IN_SILENCE = ("DisallowedHost", "DisallowedModelAdminLookup", "DisallowedModelAdminToField")


class OneLine(logging.Formatter):
    """Show controls and line breaks as what they are; a traceback goes on in indented lines."""

    converter = time.gmtime

    def __init__(self) -> None:
        super().__init__("{asctime}Z {levelname} {name}: {message}", "%Y-%m-%dT%H:%M:%S", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return harmless(super().formatMessage(record))

    def formatException(self, exception: object) -> str:
        lines = super().formatException(exception).splitlines()
        return "\n".join(f"  {harmless(line)}" for line in lines)


def harmless(text: str) -> str:
    """Return text with all that is not printable escaped, as it would be in Python."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def is_ours(record: logging.LogRecord) -> bool:
    """Tell whether an answer is the site's business: what it refused or failed at, not an address that is not there."""
    status = getattr(record, "status_code", 500)
    return status >= 500 or status == 403
