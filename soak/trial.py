"""What a trial is, which there are, and how one is judged."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .figures import Figure, is_worth_repeating, judged
from .stage import POSTGRESQL, SQLITE, Stage

ROUNDS = 3
BOTH = (SQLITE, POSTGRESQL)
Play = Callable[[Stage], Iterable[Figure]]


@dataclass(frozen=True)
class Trial:
    id: str
    what: str
    play: Play
    on: tuple[str, ...] = BOTH


@dataclass
class Verdict:
    """A trial on one kind of database: its figures, how often it was played, and what stopped it."""

    trial: Trial
    kind: str
    figures: list[Figure] = field(default_factory=list)
    rounds: int = 0
    trouble: str = ""

    @property
    def passed(self) -> bool:
        return not self.trouble and all(figure.met is not False for figure in self.figures)

    def as_json(self) -> dict[str, Any]:
        figures = [figure.as_json() for figure in self.figures]
        return {
            **{"id": self.trial.id, "what": self.trial.what, "database": self.kind, "passed": self.passed},
            **{"rounds": self.rounds, "trouble": self.trouble, "figures": figures},
        }


TRIALS: list[Trial] = []

# Named in the plan and not played here.
ELSEWHERE = {
    "T01": "in `make test`: fuzzed requests",
    "T02": "in `make test`: poisoned rows",
    "T05": "waits for the HTTP ingest and the recorder: 16 clients write",
    "T06": "waits for the HTTP ingest and the recorder: the same runs sent again and again",
    "T09": "waits for the HTTP ingest and the recorder: recording processes are killed",
    "T19": "in `make test`: what a real browser does",
    "T20": "in `make test`: clocks and days",
}


def trial(id: str, what: str, *, on: tuple[str, ...] = BOTH) -> Callable[[Play], Play]:
    """Put a function on the list of trials."""

    def keep(play: Play) -> Play:
        TRIALS.append(Trial(id, what, play, on))
        return play

    return keep


def judge(trial: Trial, stage: Stage, kind: str, at_most: int = ROUNDS) -> Verdict:
    """Play a trial, again where nothing but a time was missed, and return what is to be said of it."""
    verdict, rounds = Verdict(trial, kind), []
    while not rounds or (len(rounds) < at_most and is_worth_repeating(rounds[0])):
        stage.kind = kind
        try:
            rounds.append(list(trial.play(stage)))
        except Exception as error:  # noqa: BLE001 (whatever it was, the others are still to be played)
            traceback.print_exc(file=sys.stderr)
            verdict.trouble = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            break
    verdict.rounds, verdict.figures = len(rounds), judged(rounds)
    return verdict
