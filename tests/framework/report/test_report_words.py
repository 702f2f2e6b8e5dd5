"""Names in words."""

import pytest

from steelyard.report.words import ACRONYMS, inside, opened, words


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("auc", "AUC"),
        ("tpr_at_low_fpr", "TPR at low FPR"),
        ("forward_flops_per_example", "Forward FLOPs per example"),
        ("chrf", "chrF"),
        ("rouge_l", "ROUGE L"),
        ("worst_flips", "Worst flips"),
        ("map50", "mAP50"),
        ("coco_ap", "COCO AP"),
        ("map_of_errors", "Map of errors"),
        ("maes", "Maes"),
        ("skipped by all", "Skipped by all"),
        ("", ""),
    ],
)
def test_acronyms_are_written_as_the_field_does(name, phrase):
    assert words(name) == phrase


@pytest.mark.parametrize("phrase", ["AUC", "FLOPs per step", "F1", "chrF", "mAP50", "TPR at low FPR"])
def test_acronyms_stay_inside_a_sentence(phrase):
    assert inside(phrase) == phrase


def test_other_capitals_go_inside_a_sentence():
    assert inside("Accuracy, level 0.1") == "accuracy, level 0.1"
    assert inside("Mean AUC") == "mean AUC"


@pytest.mark.parametrize(
    ("note", "sentence"),
    [("over 6 kinds", "Over 6 kinds"), ("band_limit, mean", "band_limit, mean"), ("p = 0.2", "p = 0.2"), ("", "")],
)
def test_a_note_begins_with_a_capital_unless_with_a_name(note, sentence):
    assert opened(note) == sentence


def test_no_acronym_is_also_a_common_word():
    assert not {"map", "it", "is", "no"} & set(ACRONYMS)
