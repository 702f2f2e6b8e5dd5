"""Made-up stories, alone or with their summary."""

import random
from dataclasses import dataclass
from typing import Any, final

from steelyard.data.records import Records
from steelyard.data.texts import Texts
from steelyard.problem import check_least

PEOPLE = {
    **{"anna": "she", "maria": "she", "ruth": "she", "clara": "she", "ines": "she", "olga": "she"},
    **{"peter": "he", "omar": "he", "david": "he", "jonas": "he", "felix": "he", "hugo": "he"},
}
TOWNS = ("oslo", "lima", "cairo", "delhi", "quito", "hanoi", "lagos", "turin")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DEEDS = ("bought", "sold", "lost", "found", "repaired", "borrowed", "painted", "hid")
THINGS = ("lamp", "clock", "ring", "map", "violin", "bicycle", "ladder", "coat", "kettle", "mirror")
KINDS = ("old", "blue", "heavy", "tiny", "golden", "wooden", "cheap", "broken")
TIMES = ("in the morning", "at noon", "after lunch", "in the evening", "late at night")
ASIDES = (
    *("it was raining all day .", "the streets were full of people .", "a band was playing in the square ."),
    *("the trams were late again .", "somewhere a dog barked .", "the shops closed early .", "nobody was in a hurry ."),
)


@dataclass(frozen=True, slots=True)
class Story:
    """A text and what matters in it."""

    text: str
    summary: str


def told(draw: random.Random) -> Story:
    """One story: somebody comes to a town and does two or three things, between remarks that do not matter."""
    name = draw.choice([*PEOPLE])
    town, day = draw.choice(TOWNS), draw.choice(DAYS)
    sentences = [f"on {day} {name} came to {town} ."]
    deeds: list[str] = []
    things = draw.sample(THINGS, k=3)
    for thing in things[: draw.choice((2, 3))]:
        if draw.random() < 0.6:
            sentences.append(draw.choice(ASIDES))
        deed = draw.choice(DEEDS)
        sentences.append(f"{draw.choice(TIMES)} {PEOPLE[name]} {deed} a {draw.choice(KINDS)} {thing} .")
        deeds.append(f"{deed} a {thing}")
    if draw.random() < 0.5:
        sentences.append(draw.choice(ASIDES))
    listed = f"{', '.join(deeds[:-1])} and {deeds[-1]}".replace(",", " ,")
    return Story(text=" ".join(sentences), summary=f"{name} {listed} in {town}")


class _Told(Texts):
    def __init__(self, *, count: int = 6000, **options: Any) -> None:
        super().__init__(**options)
        check_least("data.count", count, 10, fix=6000)
        self.count = count

    def stories(self) -> list[Story]:
        """Different stories, always the same."""
        draw = random.Random(19_630_722)  # noqa: S311 (stories, no secrets)
        found: dict[str, Story] = {}
        while len(found) < self.count:
            story = told(draw)
            found[story.text] = story
        return [*found.values()]


@final
class Summaries(_Told):
    """Made-up stories with the summary that a rule gives: who did what, and where.

    Days, times, kinds and remarks are left out, and the name stands only in the first sentence. No story occurs twice.
    Nothing here was written by people, and no figure made on it says how well a model summarises real texts.

    Args:
        count: Number of stories, over all splits.
        options: See `Texts`.
    """

    def read(self) -> Records:
        """Tells the stories."""
        stories = self.stories()
        return Records(
            texts=[story.text for story in stories],
            answers=[story.summary for story in stories],
            source="the made-up stories",
        )


@final
class Stories(_Told):
    """The made-up stories alone, for language modelling.

    Args:
        count: Number of stories, over all splits.
        options: See `Texts`.
    """

    def read(self) -> Records:
        """Tells the stories."""
        return Records(texts=[story.text for story in self.stories()], source="the made-up stories")
