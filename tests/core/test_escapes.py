"""Each place's escapes: what would be a command there is words, and what was harmless is as it was."""

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.escapes import for_csv, for_latex, for_markdown, for_terminal, from_csv

anything = st.text(st.characters(exclude_categories=[]))
names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"]))
cells = st.builds(str.__add__, st.sampled_from(["", "'", "''", "=", "+", "-", "@", "\t", "\r", "＝"]), anything)


@given(anything)
def test_a_terminal_gets_no_control_no_turn_of_direction_and_no_half_character(text):
    shown = for_terminal(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c in "\n\t" for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert shown.encode("utf-8").decode("utf-8") == shown


@given(names)
def test_a_terminal_shows_names_of_all_languages_as_they_are(text):
    assert for_terminal(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x\x1b]0;OWNED\x07", r"x\x1b]0;OWNED\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x08", r"a\rb\x08"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("M\udcfcller", r"M\udcfcller"),
        ("line\nline\tcell", "line\nline\tcell"),
        ("1\u00a0000\u202fml", "1\u00a0000\u202fml"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_a_terminal_is_shown(text, shown):
    assert for_terminal(text) == shown


@given(anything)
def test_markdown_has_no_tag_no_line_and_no_cell_of_the_texts_own(text):
    shown = for_markdown(text)
    assert not set("<>\n\r") & set(shown)
    assert re.search(r"(?<!\\)(\\\\)*[|`*]", shown) is None
    assert "](" not in shown.replace("\\](", "")
    assert re.sub(r"&(amp|lt|gt);", "", shown).count("&") == 0


@pytest.mark.parametrize("name", ["phantom_18", "volume error [ml]", "HD95", "Gehirn links", "a-b (2)"])
def test_names_stay_readable_in_markdown(name):
    assert for_markdown(name) == name


@given(anything)
def test_latex_has_no_command_of_the_texts_own(text):
    shown = for_latex(text)
    for known in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        shown = shown.replace(f"\\{known}{{}}", "")
    shown = re.sub(r"\\textquotedbl\{\}|\\[&%$#_{}]", "", shown)
    assert not set('\\&%$#_{}~^<>|"\n\r') & set(shown)


@given(cells)
def test_a_cell_comes_back_from_a_table_and_begins_no_formula(cell):
    written = for_csv(cell)
    assert from_csv(written) == cell
    assert written[:1] not in tuple("=@\t\r\n＝＋－＠")
    if written[:1] in tuple("+-"):
        float(written)


@given(st.lists(cells, min_size=1, max_size=4))
def test_a_row_comes_back_from_the_text_of_a_table(row):
    text = io.StringIO(newline="")
    csv.writer(text).writerow(map(for_csv, row))
    assert [from_csv(cell) for cell in next(csv.reader(io.StringIO(text.getvalue(), newline="")), [""])] == row


@given(st.floats())
def test_numbers_stay_numbers(number):
    for text in (repr(number), f"{number:+.3f}"):
        assert for_csv(text) == text
