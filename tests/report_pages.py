"""Reads pages as a test does: structure, text, and whether they stand alone."""

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

VOID = {"meta", "link", "img", "br", "wbr", "hr"}


class Page(HTMLParser):
    """Collects what the tests look at; fails on tags that are not closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.text = [], [], [], [], []
        self.feed(html)
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(SimpleNamespace(name=tag, **{"attrs": found}))
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[key] for key in ("href", "src", "data", "action", "xlink:href") if key in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def named(self, name):
        return [tag for tag in self.tags if tag.name == name]

    @property
    def words(self):
        return re.sub(r"\s+", " ", "".join(self.text))


def page(path):
    return Page(path.read_text(encoding="utf-8"))


def check_self_contained(found, *, local=()):
    # The page of a sweep has a script of its own and the data that it draws; nothing is fetched.
    assert [tag.attrs for tag in found.named("script")] in ([], [{"type": "application/json", "id": "explored"}, {}])
    assert not [tag for tag in found.tags if any(name.startswith("on") for name in tag.attrs)]
    outside = [link for link in found.links if not link.startswith(("#", "data:")) and link not in local]
    assert outside == []
    for image in found.named("img"):
        assert image.attrs["alt"].strip()
        assert image.attrs["src"].startswith("data:image/png;base64,")
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []
    targets = {link[1:] for link in found.links if link.startswith("#")}
    targets |= {word for tag in found.tags for word in tag.attrs.get("aria-labelledby", "").split()}
    assert targets <= set(found.ids)
    assert found.named("html")[0].attrs["lang"] == "en"
    assert len(found.named("h1")) == 1
    levels = [int(tag.name[1]) for tag in found.tags if re.fullmatch(r"h[1-6]", tag.name)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
