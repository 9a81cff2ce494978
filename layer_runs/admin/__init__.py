"""Runs and the trail in the built-in admin: evidence to search, filter, export and, by permission, delete."""

from .runs import LayerRunAdmin
from .trail import AuditEventAdmin

__all__ = ["AuditEventAdmin", "LayerRunAdmin"]
