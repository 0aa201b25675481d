r"""Text from outside (names of files, labels, channels), escaped for each place that it may end in; a function a place.

What is harmless in one place is a command in another: an escape code on a terminal, a formula in a spreadsheet, a tag
in Markdown. Pages escape HTML where markup is made, JSON escapes itself. The module knows what the places understand
and nothing of who writes to them.
"""

import re
import unicodedata

__all__ = ["for_csv", "for_latex", "for_markdown", "for_terminal", "from_csv"]

_JOINERS = "\u200c\u200d"
"""Characters without a width that scripts are written with (Persian, Hindi, emoji) and that do no harm."""

_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "\\\\", "`": "\\`", "*": "\\*", "|": "\\|"}
_LINK = re.compile(r"\](?=[(\[:])")

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "–": "--",
    }
    | {character: f"\\{character}" for character in "&%$#_{}"}
)

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet takes for a formula, and how it looks when it was escaped."""


def for_terminal(text: str) -> str:
    r"""Text that cannot steer a terminal: control characters, half characters and turns of direction are spelled out.

    >>> for_terminal("a\x1b[31m\u202eb\nc")
    'a\\x1b[31m\\u202eb\nc'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def for_markdown(text: str) -> str:
    """Text as it is in a line or a cell of Markdown: no tag, link, code, emphasis, no end of a cell or line.

    >>> for_markdown("<b>left</b>")
    '&lt;b&gt;left&lt;/b&gt;'
    """
    line = "".join(_MARKDOWN.get(c, c) for c in for_terminal(_one_line(text)))
    return _LINK.sub(r"\]", line)


def for_latex(text: str) -> str:
    r"""Text as it is in a line or a cell of LaTeX.

    >>> for_latex("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return for_terminal(_one_line(text)).translate(_LATEX)


def for_csv(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: numbers as they are, other text behind an apostrophe.

    >>> for_csv("=1+1"), for_csv("-1.5"), for_csv("a")
    ("'=1+1", '-1.5', 'a')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _is_number(cell) else cell


def from_csv(cell: str) -> str:
    """The text of a cell that `for_csv` wrote.

    >>> from_csv("'=1+1")
    '=1+1'
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_harmless(character: str) -> bool:
    # Spaces of all widths are no characters that "can be printed", and neither harm.
    return character.isprintable() or character in "\n\t" + _JOINERS or unicodedata.category(character) == "Zs"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell == cell.strip()
