"""Every page is whole in itself, and its parts are those of a page for everyone."""

import pytest
from jinja2 import UndefinedError

from medseg.pages import render
from tests.pages.reader import Reader


def test_a_page_brings_its_style_and_its_script_and_forbids_all_else(tmp_path, monkeypatch):
    (tmp_path / "somewhere").mkdir()
    (tmp_path / "somewhere" / "__init__.py").write_text("")
    (tmp_path / "somewhere" / "a.html").write_text(
        "{% extends 'base.html' %}{% block title %}{{ name }}{% endblock %}"
        "{% block content %}<p>{{ name }}</p>{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    page = render("somewhere", "a.html", name="<b>")
    reader = Reader(page)
    assert reader.open == []
    assert "<p>&lt;b&gt;</p>" in page
    assert "default-src 'none'" in page
    assert len(reader.all("style")) == len(reader.all("script")) == len(reader.all("main")) == 1
    assert reader.all("html") == [{"lang": "en"}]
    with pytest.raises(UndefinedError):
        render("somewhere", "a.html")
