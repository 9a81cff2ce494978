"""Numbers to charts: each function returns the strings that a template draws. No models, no HTML.

    bars    stacked columns, one a bucket         _chart_bars.html
    dots    a point a run (or a bucket)           _chart_dots.html
    cells   the outcome grid, a cell a bucket     _chart_cells.html, its heading _chart_head.html
    spark   tiny columns without axes             _chart_spark.html

x is in percent of the width and y in pixels, so that a chart stretches and its text does not. A chart carries its
numbers as a table too, drawn behind "Show as a table". A template draws a chart with

    {% include "layer_runs/_chart_bars.html" with chart=lens.chart swaps=True %}

where `swaps` says that its links lead to the same lens, and swap what lies below the filters.
"""

from .axis import COUNT, MILLISECONDS, USD, Axis, Unit
from .bars import Bars, Column, Part, bars
from .cells import Cell, Cells, cells, worst
from .dots import Dot, Dots, Level, Mark, dots
from .labels import Label, head, labels, place, round_names
from .parts import SERIES, TONES, Row, Series, Table, named
from .spark import Spark, spark

__all__ = [
    "COUNT",
    "MILLISECONDS",
    "SERIES",
    "TONES",
    "USD",
    "Axis",
    "Bars",
    "Cell",
    "Cells",
    "Column",
    "Dot",
    "Dots",
    "Label",
    "Level",
    "Mark",
    "Part",
    "Row",
    "Series",
    "Spark",
    "Table",
    "Unit",
    "bars",
    "cells",
    "dots",
    "head",
    "labels",
    "named",
    "place",
    "round_names",
    "spark",
    "worst",
]
