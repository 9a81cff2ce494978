"""The trials, in the order of the plan."""

from importlib import import_module

from ..trial import TRIALS

for _name in (
    *("browsing", "contention", "imports", "killing", "disks", "servers", "locks", "details", "links", "backups"),
):
    import_module(f"{__name__}.{_name}")
TRIALS.sort(key=lambda trial: trial.id)
