"""Where runs come from: each module reads one kind of source and writes nothing."""

from __future__ import annotations


class SourceError(Exception):
    """Nothing more can be read from a source. The text is a sentence for the person at the terminal."""
