"""Profiles as a person or a program reads them."""

from edgecls.reports.columns import COLUMNS, Column
from edgecls.reports.render import FORMATS, render
from edgecls.reports.summary import summary_lines

__all__ = ["COLUMNS", "FORMATS", "Column", "render", "summary_lines"]
