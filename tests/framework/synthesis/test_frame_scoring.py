import copy
import math

import torch

from steelyard.adapters.audio import AudioAdapter
from steelyard.models.mel import LogMel
from steelyard.synthesis import FrameScoring

MEL = LogMel(sample_rate=4000, mels=8, window=64, hop=32)
SCORING = FrameScoring(mel=MEL)
SOUNDS = torch.rand(3, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
TRUTH = SCORING.truth(SOUNDS, torch.arange(3))
OUTPUTS = torch.randn(3, 2, 8, 5, generator=torch.Generator().manual_seed(1))


def test_right_is_the_spectrogram_in_thousandths_whatever_the_batch_calls_its_target():
    torch.testing.assert_close(TRUTH / 1000, MEL(SOUNDS), atol=0.0006, rtol=0)
    assert torch.equal(TRUTH, SCORING.truth(SOUNDS, torch.tensor([7, 8, 9])))


def test_examples_are_counted_without_a_spectrogram():
    """As in a plan, whose model has no numbers."""
    adapter = AudioAdapter(
        scoring=FrameScoring(mel=copy.deepcopy(MEL).to("meta")), bounds=(-1.0, 1.0), sample_rate=4000
    )
    assert adapter.size((SOUNDS, torch.arange(3))) == 3


def test_decided_is_the_refined_spectrogram():
    torch.testing.assert_close(SCORING.decisions(OUTPUTS, TRUTH) / 1000, OUTPUTS[:, 1], atol=0.0006, rtol=0)


def test_the_loss_is_the_error_before_and_after():
    wanted = [
        sum(
            abs(float(OUTPUTS[row, part, band, frame]) - int(TRUTH[row, band, frame]) / 1000)
            for part in range(2)
            for band in range(8)
            for frame in range(5)
        )
        / 40
        for row in range(3)
    ]
    torch.testing.assert_close(SCORING.losses(OUTPUTS, TRUTH), torch.tensor(wanted))


def test_three_decibels_are_near():
    one = torch.zeros(2, 1, 4, dtype=torch.long)
    nats = 1000 * math.log(2)
    other = torch.tensor([[[0, nats - 1, 1 - nats, nats + 1]], [[0, nats - 1, nats + 1, -nats - 1]]]).long()
    assert SCORING.marks(one, other).tolist() == [0.75, 0.5]
    assert SCORING.same(one, other).tolist() == [True, False]


def test_the_likeliest_is_the_decision_itself():
    decisions = SCORING.decisions(OUTPUTS, TRUTH)
    torch.testing.assert_close(SCORING.probabilities(OUTPUTS, decisions), torch.ones(3), atol=0.001, rtol=0)
    torch.testing.assert_close(
        SCORING.probabilities(OUTPUTS, decisions + 2000), torch.full((3,), math.exp(-2)), atol=0.001, rtol=0
    )


def test_the_score_is_linear_and_loudness_alone_scores_nothing():
    decisions = SCORING.decisions(OUTPUTS, TRUTH)
    found = SCORING.scores(OUTPUTS, decisions)
    torch.testing.assert_close(found, OUTPUTS[:, 1].var(dim=(1, 2), correction=0), atol=0.002, rtol=0)
    torch.testing.assert_close(SCORING.scores(3 * OUTPUTS + 5, decisions), 3 * found, atol=0.001, rtol=0)


def test_thousands_of_energies_are_not_told():
    assert SCORING.said(TRUTH[0]) == SCORING.wanted(TRUTH[0]) == []
