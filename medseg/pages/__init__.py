"""Pages that need nothing but themselves: one skeleton and look, charts and pictures, for every room that shows things.

A page is one HTML file with its style, its script, its pictures and its charts inside; it loads nothing, sends nothing,
and its own policy forbids it to. It is made for a mouse, a keyboard, a screen reader and paper, in light and in dark.
The room knows no case, no metric and no layout of files: a room above brings a template and what goes into it.
"""

from medseg.pages.document import render
from medseg.pages.numbers import number, percent

__all__ = ["number", "percent", "render"]
