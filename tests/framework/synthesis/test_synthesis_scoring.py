import torch

from steelyard.models.mu_law import encode
from steelyard.synthesis import LevelScoring

SCORING = LevelScoring(levels=4)
OUTPUTS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
CODES = torch.randint(4, (3, 5), generator=torch.Generator().manual_seed(1))


def test_right_is_the_level_of_the_sample_whatever_the_batch_calls_its_target():
    samples = torch.linspace(-1, 1, 15).reshape(3, 5)
    assert torch.equal(SCORING.truth(samples, torch.tensor([7, 8, 9])), encode(samples, levels=4))


def test_every_sample_is_a_decision_of_its_own():
    decisions = SCORING.decisions(OUTPUTS, CODES)
    assert decisions.tolist() == [[int(OUTPUTS[row, :, t].argmax()) for t in range(5)] for row in range(3)]
    assert SCORING.marks(decisions, CODES).tolist() == [
        sum(int(decisions[row, t] == CODES[row, t]) for t in range(5)) / 5 for row in range(3)
    ]


def test_scores_and_probabilities_are_means_over_the_samples():
    wanted = [sum(float(OUTPUTS[row, CODES[row, t], t]) for t in range(5)) / 5 for row in range(3)]
    torch.testing.assert_close(SCORING.scores(OUTPUTS, CODES), torch.tensor(wanted))
    chances = OUTPUTS.softmax(dim=1).gather(1, CODES[:, None])[:, 0]
    torch.testing.assert_close(SCORING.probabilities(OUTPUTS, CODES), chances.prod(dim=1) ** (1 / 5))
    torch.testing.assert_close(SCORING.losses(OUTPUTS, CODES), -chances.log().mean(dim=1))


def test_two_decisions_are_the_same_where_most_samples_are():
    one = torch.zeros(3, 4, dtype=torch.long)
    other = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0]])
    assert SCORING.same(one, other).tolist() == [True, False, False]


def test_thousands_of_levels_are_not_told():
    assert SCORING.said(CODES[0]) == SCORING.wanted(CODES[0]) == []
