"""A made-up language pair with rules, so that every translation is known to be right or wrong."""

import random
from dataclasses import dataclass
from typing import Any, final

from steelyard.data.records import Records
from steelyard.data.texts import Texts
from steelyard.problem import check_least

# fmt: off
NOUNS = (
    {"dog": "kav", "king": "bor", "bridge": "tulm", "river": "sard", "knife": "grel", "horse": "pim", "tower": "vost"},
    {"cat": "neli", "queen": "ara", "garden": "muri", "lamp": "olvi", "house": "teli", "road": "fani", "boat": "sima"},
    {"bird": "jot", "child": "leko", "book": "halo", "tree": "dumo", "cloud": "welo", "stone": "riko", "key": "zato"},
)
"""English -> stem, by gender: ending in a consonant, in i or a, in o or t."""
ADJECTIVES = {
    "small": "mik", "red": "ruv", "old": "stal", "quiet": "shum", "tall": "prin",
    "dark": "nokt", "warm": "tep", "lost": "gard", "wise": "sof", "broken": "krash",
}
VERBS = {
    "follow": "sek", "watch": "vid", "open": "apr", "paint": "kolor", "need": "nod", "repair": "fik",
    "guard": "tov", "visit": "ziv", "clean": "limp", "pull": "trek", "film": "balt", "obey": "hus",
}
# fmt: on
PLACES = {"near": "kel", "behind": "das", "under": "sub", "with": "om", "without": "nom", "above": "hup"}
DETERMINERS = {"the": "d", "this": "s", "every": "om", "no": "n"}
TENSES = {"present": "a", "past": "ul", "future": "esh"}
ENDINGS = (("u", "ur"), ("e", "el"), ("o", "om"))
"""By gender, then by number."""
STEMS = {noun: stem for nouns in NOUNS for noun, stem in nouns.items()}
GENDERS = {noun: gender for gender, nouns in enumerate(NOUNS) for noun in nouns}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun with what goes with it."""

    determiner: str
    adjective: str | None
    noun: str
    plural: bool

    @property
    def ending(self) -> str:
        """What everything that agrees with the noun ends in."""
        return ENDINGS[GENDERS[self.noun]][self.plural]

    def english(self) -> str:
        """Determiner, adjective, noun."""
        determiner = {"this": "these", "every": "all"}.get(self.determiner, self.determiner)
        noun = {"knife": "knives", "child": "children"}.get(self.noun, f"{self.noun}s")
        words = (determiner, self.adjective, noun) if self.plural else (self.determiner, self.adjective, self.noun)
        return " ".join(word for word in words if word)

    def foreign(self, *, case: str = "") -> str:
        """Noun with number and case, adjective and determiner behind it, both agreeing with it."""
        words = [STEMS[self.noun] + ("ri" if self.plural else "") + case]
        if self.adjective:
            words.append(ADJECTIVES[self.adjective] + self.ending)
        return " ".join([*words, DETERMINERS[self.determiner] + self.ending])


@dataclass(frozen=True, slots=True)
class Sentence:
    """Who does what to whom, and where."""

    subject: Phrase
    verb: str
    tense: str
    thing: Phrase
    place: str | None
    landmark: Phrase

    def english(self) -> str:
        """Subject, verb, object, preposition, place."""
        past = f"{self.verb}ed"
        present = self.verb if self.subject.plural else f"{self.verb}es" if self.verb == "watch" else f"{self.verb}s"
        verb = {"present": present, "past": past, "future": f"will {self.verb}"}[self.tense]
        where = f" {self.place} {self.landmark.english()}" if self.place else ""
        return f"{self.subject.english()} {verb} {self.thing.english()}{where}"

    def foreign(self) -> str:
        """Place, postposition, object in the accusative, verb agreeing with the subject, subject."""
        verb = VERBS[self.verb] + TENSES[self.tense] + self.subject.ending
        where = f"{self.landmark.foreign()} {PLACES[self.place]} " if self.place else ""
        return f"{where}{self.thing.foreign(case='n')} {verb} {self.subject.foreign()}"


@final
class Translation(Texts):
    """Sentences of a small English and their translation into a language that was made up for this, by rules.

    The other language puts the place first and the subject last, has postpositions, an accusative, three genders, and
    adjectives, determiners and verbs that agree with their noun in gender and number: word by word it cannot be
    translated. No sentence occurs twice, so the test sentences are new. Nothing here was written by people, and no
    figure made on it says how well a model translates real languages.

    Args:
        count: Number of sentences, over all splits.
        options: See `Texts`.
    """

    def __init__(self, *, count: int = 8000, **options: Any) -> None:
        super().__init__(**options)
        check_least("data.count", count, 10, fix=8000)
        self.count = count

    def read(self) -> Records:
        """Draws the sentences, always the same."""
        draw = random.Random(20_140_901)  # noqa: S311 (sentences, no secrets)
        pairs: dict[str, str] = {}
        while len(pairs) < self.count:
            sentence = drawn(draw)
            pairs[sentence.english()] = sentence.foreign()
        return Records(texts=[*pairs], answers=[*pairs.values()], source="the made-up language pair")


def drawn(draw: random.Random) -> Sentence:
    """One sentence."""
    return Sentence(
        subject=_phrase(draw),
        verb=draw.choice([*VERBS]),
        tense=draw.choice([*TENSES]),
        thing=_phrase(draw),
        place=draw.choice([None, *PLACES]),
        landmark=_phrase(draw),
    )


def _phrase(draw: random.Random) -> Phrase:
    return Phrase(
        determiner=draw.choice([*DETERMINERS]),
        adjective=draw.choice([None, *ADJECTIVES]),
        noun=draw.choice([*STEMS]),
        plural=draw.random() < 0.5,
    )
