import itertools
import math

import pytest
import torch
from torchmetrics.functional.text import edit_distance as reference

from steelyard.adapters import IGNORED, CTCScoring, Facts, TokenScoring, adapter_for
from steelyard.adapters.ctc_scoring import collapsed, ctc_losses, edit_distance

SCORING = CTCScoring()


@pytest.fixture
def logits():
    return torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))


TEXTS = torch.tensor([[1, 2, 0], [2, 0, IGNORED], [1, 1, 0]])


def test_what_a_path_says_has_no_repeats_and_no_blanks():
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0, IGNORED]) == [1, 1, 2]
    assert collapsed([0, 0]) == []


def test_the_loss_sums_over_all_paths_that_say_the_text(logits):
    losses = ctc_losses(logits, TEXTS)
    for row, text, loss in zip(logits.log_softmax(dim=2), ([1, 2], [2], [1, 1]), losses, strict=True):
        paths = [path for path in itertools.product(range(3), repeat=4) if collapsed(path) == text]
        slow = sum(math.exp(sum(float(row[frame, token]) for frame, token in enumerate(path))) for path in paths)
        assert float(loss) == pytest.approx(-math.log(slow), rel=1e-5)


def test_the_loss_of_an_example_does_not_see_its_neighbours(logits):
    for at, loss in enumerate(ctc_losses(logits, TEXTS)):
        torch.testing.assert_close(ctc_losses(logits[at : at + 1], TEXTS[at : at + 1])[0], loss)


@pytest.mark.parametrize(("one", "other"), [("kitten", "sitting"), ("", "abc"), ("abc", ""), ("", ""), ("ab", "ba")])
def test_the_edit_distance_is_that_of_torchmetrics(one, other):
    assert edit_distance(one, other) == int(reference([one], [other], reduction="sum"))


def test_marks_are_the_letters_that_are_right():
    targets = torch.tensor([[1, 2, 3, 4, 0], [1, 0, IGNORED, IGNORED, IGNORED]])
    paths = torch.tensor([[1, 1, 0, 2, 4, 4], [2, 3, 4, 5, 6, 7]])
    # One letter of four is missing; six wrong ones are no worse than none.
    assert SCORING.marks(paths, targets).tolist() == [0.75, 0.0]
    assert SCORING.wanted(targets[0]) == [1, 2, 3, 4]
    assert SCORING.said(paths[0]) == [1, 2, 4]


def test_two_paths_are_the_same_when_they_say_the_same():
    one, other = torch.tensor([[1, 1, 0, 2], [1, 0, 1, 0]]), torch.tensor([[0, 1, 2, 2], [1, 1, 0, 0]])
    assert SCORING.same(one, other).tolist() == [True, False]


def test_scores_and_probabilities_are_those_of_the_frames_that_say_something(logits):
    logits[0, :, 0] = torch.tensor([9.0, -9.0, -9.0, 9.0])
    logits[1, :, 0] = 9.0
    path = SCORING.decisions(logits, TEXTS)
    assert path.tolist() == logits.argmax(dim=2).tolist()
    scores, chances = SCORING.scores(logits, path), SCORING.probabilities(logits, path)
    heard = logits[0, 1:3].max(dim=1).values.mean()
    torch.testing.assert_close(scores[0], heard)
    # Where nothing is said, all frames count.
    torch.testing.assert_close(scores[1], torch.tensor(9.0))
    torch.testing.assert_close(chances[0].log(), logits[0, 1:3].log_softmax(1).max(1).values.mean())
    assert bool(((chances > 0) & (chances <= 1)).all())
    loud = logits.clone().requires_grad_()
    SCORING.scores(loud, path).sum().backward()
    assert bool((loud.grad.abs().sum(dim=(1, 2)) > 0).all())


def test_an_adapter_tells_the_task_the_targets_where_it_wants_to_be_told():
    batch = (torch.zeros(1, 5), torch.ones(1, 2))
    for scoring, given in ((TokenScoring(forced=True), 2), (TokenScoring(), 1), (SCORING, 1)):
        adapter = adapter_for("audio", facts=Facts(), scoring=scoring)
        assert len(adapter.outputs(lambda *all_of: all_of, batch)) == given
