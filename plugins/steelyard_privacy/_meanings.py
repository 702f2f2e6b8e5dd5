"""What the numbers of private training and of its attacks say, for somebody who has never met them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import ParamSpec

from steelyard.measurement import Artefact, Measurement

MEANINGS = {
    "delta": "probability that epsilon leaves out; it has to be smaller than one example in all of them",
    "noise_multiplier": "how large the noise on the sum of the gradients is, beside the most that one example adds",
    "epsilon": "how much the trained model can give away about any one training example; 0 is nothing, below 3 is "
    "strong, above 10 is hardly a promise",
    "steps": "how often the weights were changed; each time gives a little away",
    "epsilon_at": "how much the model could give away after so many steps",
    "drawn_rate": "share of the training examples that a step learnt from, on average",
    "sensitivity": "how far one example moves the sum of the gradients, at most; the promise rests on it",
    "clipped_fraction": "share of the examples whose gradient was so long that it was cut",
    "auc": "how often an attacker, shown a training example and a new one, knows which is which; 0.5 is guessing",
    "auc_min_k": "the same for an attacker who looks at the least likely tokens of a text",
    "tpr_at_low_fpr": "share of the training examples that an attacker recognises who accuses hardly any new one",
    "unseen_auc": "the same attack where there is nothing to find: on two sets of examples, neither trained on",
    "memoriser_auc": "the same attack where there is all to find: on a model that knows its examples by heart",
    "members": "examples that this model was trained on, so that others can be attacked by it",
    "lira_auc": "how often an attacker with models of one's own knows which examples were trained on; 0.5 is guessing",
    "guessed_right": "share of the attacker's guesses about the canaries that are right; 0.5 is guessing",
    "noiseless_bound": "what the same attacker would find out if no noise were added",
    "unused_coins_bound": "what the same attacker would find out of nothing",
}


Given = ParamSpec("Given")
Told = Iterator[Measurement | Artefact]


def meant(measure: Callable[Given, Told]) -> Callable[Given, Told]:
    """The same numbers; one that does not say what it means gets its meaning from here."""

    @wraps(measure)
    def told(*args: Given.args, **kwargs: Given.kwargs) -> Told:
        for item in measure(*args, **kwargs):
            known = isinstance(item, Measurement) and not item.meaning
            yield replace(item, meaning=MEANINGS.get(item.name, "")) if known else item

    return told
