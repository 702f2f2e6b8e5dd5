import re

import pytest

from steelyard.data import Summaries
from steelyard.data.stories import ASIDES, DEEDS, KINDS, THINGS
from steelyard.problem import Refused


@pytest.fixture(scope="module")
def records():
    return Summaries(count=500).records


def summed_up(text: str) -> str:
    """The summary read off the text by rules of its own."""
    _, name, town = re.match(r"on (\w+) (\w+) came to (\w+) \.", text).groups()
    done = re.findall(rf"({'|'.join(DEEDS)}) a (?:{'|'.join(KINDS)}) ({'|'.join(THINGS)}) \.", text)
    listed = [f"{deed} a {thing}" for deed, thing in done]
    return f"{name} {' , '.join(listed[:-1])} and {listed[-1]} in {town}"


def test_the_summary_says_who_did_what_and_where(records):
    for text, answer in zip(records.texts, records.answers, strict=True):
        assert summed_up(text) == answer


def test_the_summary_leaves_out_what_does_not_matter(records):
    for answer in records.answers:
        assert not {*KINDS} & {*answer.split()}
        assert "day" not in answer
    remarks = sum(any(aside in text for aside in ASIDES) for text in records.texts)
    assert 0.5 < remarks / len(records.texts) < 1


def test_the_name_stands_only_in_the_first_sentence(records):
    for text, answer in zip(records.texts, records.answers, strict=True):
        name = answer.split()[0]
        assert text.split().count(name) == 1
        assert name in text.split(" . ")[0]


def test_no_story_comes_twice_and_they_are_always_the_same(records):
    assert len({*records.texts}) == 500
    assert Summaries(count=500, split_seed=1).fingerprint() == Summaries(count=500).fingerprint()


def test_too_few_stories_are_refused():
    with pytest.raises(Refused, match=r"data\.count is 3, must be at least 10"):
        Summaries(count=3)
