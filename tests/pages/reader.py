"""A page as its elements: whether it is well-formed, and what stands in it."""

import base64
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from PIL import Image


class Reader(HTMLParser):
    """The elements of a page in order, with their texts; every element must close."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.rows = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open) and self.rows:
            self.rows[-1][-1] += data

    def all(self, tag, kind=None):
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and (kind is None or kind in attributes.get("class", "").split())
        ]


def pixels_of(source):
    """The RGB pixels of a picture inside a page."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
