"""Reading one JSON error of a run, whatever shape it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .fingerprints import fingerprint
from .formatting import error_code, error_title

# A text can be megabytes long; what names it stands at its beginning.
LOOKED_AT = 10_000


@dataclass(frozen=True)
class RunError:
    """What went wrong for one target. `odd` marks an error that was not `{topic, error, node}`: shown raw.

    An odd one has neither topic nor node. `cut` marks one that says only the beginning of its text.
    """

    position: int
    message: str
    topic: str = ""
    node: str = ""
    odd: bool = False
    cut: bool = False

    @classmethod
    def load(cls, position: int, item: Any) -> RunError:
        if isinstance(item, dict) and isinstance(item.get("error"), str):
            return cls(position, item["error"], _text(item.get("topic")), _text(item.get("node")))
        if isinstance(item, str):
            return cls(position, item, odd=True)
        return cls(position, _json(item), odd=True)

    @property
    def title(self) -> str:
        return error_title(self.message[:LOOKED_AT])

    @property
    def code(self) -> str:
        return error_code(self.message[:LOOKED_AT])

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.node, self.message)


def read_errors(value: Any, start: int = 0, stop: int | None = None) -> Iterator[RunError]:
    """Yield the errors of a run's JSON from position `start` to `stop`; never raises, never drops one."""
    if value is None:
        return
    items = value if isinstance(value, list) else [value]
    for position, item in enumerate(items[start:stop], start):
        yield RunError.load(position, item)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _json(value: Any) -> str:
    # By its keys: PostgreSQL gives an object back in an order of its own, and it must stay the same error.
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
