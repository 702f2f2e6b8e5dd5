from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from small_runs import TABLE, Points, digits, digits_task, frozen, train
from steelyard.adapters import TableAdapter, TokenScoring
from steelyard.measurement import Measurement, Picture, Status
from steelyard.tasks import Classification
from steelyard_stability import Calibration
from steelyard_stability._calibration import CalibrationAttachment
from steelyard_stability._reliability import conformal_threshold, softmax


class Scaled(nn.Module):
    """Logits that are the inputs, times a number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs):
        return self.factor * inputs


def calibrated(count=4000):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 3, generator=generator)
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return Points(logits, targets, batch_size=256)


def task(factor):
    return Classification(model=Scaled(factor), optimizer=partial(torch.optim.SGD, lr=0.1), classes=3)


def weighed(factor, adapter=TABLE):
    attachment = CalibrationAttachment(Calibration())
    run = frozen(task(factor), calibrated(), adapter=adapter)
    items = list(attachment.measure(run))
    return {item.name: item for item in items if isinstance(item, Measurement)}, items


def test_a_calibrated_model_cannot_be_told_from_one():
    rows, items = weighed(1.0)
    assert rows["error"].value < 0.05
    assert "cannot be told from it" in rows["error"].note
    assert rows["temperature"].value == pytest.approx(1, abs=0.1)
    low, high = rows["overconfidence"].interval
    assert low <= 0 <= high
    assert rows["set_coverage"].interval[0] <= 0.9 <= rows["set_coverage"].interval[1] + 0.02
    assert any(isinstance(item, Picture) for item in items)


def test_a_model_that_is_too_sure_is_caught_and_mended():
    rows, _ = weighed(4.0)
    assert rows["error"].value > rows["error_null"].interval[1]
    assert "shows more" in rows["error"].note
    assert rows["overconfidence"].interval[0] > 0
    assert rows["temperature"].value == pytest.approx(4, rel=0.1)
    assert rows["error_scaled"].value < rows["error"].value / 3


def test_a_model_that_is_too_modest_is_told_so():
    rows, _ = weighed(0.25)
    assert rows["overconfidence"].interval[1] < 0


def test_logits_that_are_no_numbers_fail_with_words():
    with pytest.raises(ValueError, match="not finite on the test split"):
        weighed(float("nan"))


def test_a_task_without_classes_is_skipped_with_a_reason():
    rows, _ = weighed(1.0, adapter=TableAdapter(scoring=TokenScoring(), bounds=None))
    assert {row.status for row in rows.values()} == {Status.SKIPPED}
    assert "does not choose one of several classes" in rows["error"].note


def test_digits_are_weighed():
    run = frozen(train(digits_task, digits(), epochs=1), digits())
    rows = {
        item.name: item for item in CalibrationAttachment(Calibration()).measure(run) if isinstance(item, Measurement)
    }
    assert 1 <= rows["set_size"].value <= 10
    assert all(row.meaning for row in rows.values())


def test_the_log_likelihood_is_that_of_torch_and_finite_for_the_surest():
    rows, _ = weighed(1.0)
    logits, targets = calibrated()._data.tensors
    assert rows["nll"].value == pytest.approx(float(nn.functional.cross_entropy(logits.double(), targets)), rel=1e-9)
    assert rows["nll"].unit == "nats"
    rows, _ = weighed(1e4)
    assert 0 < rows["nll"].value < float("inf")


@pytest.mark.slow
def test_the_conformal_sets_are_those_of_mapie():
    classification = pytest.importorskip("mapie.classification", reason="the extra `oracles` is not installed")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Inputs that are the probabilities."""

        classes_ = np.arange(4)

        def fit(self, inputs, targets):
            return self

        def __sklearn_is_fitted__(self):
            return True

        def predict_proba(self, inputs):
            return inputs

        def predict(self, inputs):
            return inputs.argmax(axis=1)

    cells = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        logits = generator.normal(size=(300, 4)) * generator.uniform(0.5, 4)
        probabilities = softmax(logits)
        targets = np.array([generator.choice(4, p=row) for row in probabilities])
        for miscoverage in (0.05, 0.1, 0.2):
            model = classification.SplitConformalClassifier(
                estimator=Given(), confidence_level=1 - miscoverage, conformity_score="lac", prefit=True
            )
            model.conformalize(probabilities[:150], targets[:150])
            _, theirs = model.predict_set(probabilities[150:])
            edge = conformal_threshold(probabilities[:150], targets[:150], miscoverage=miscoverage)
            ours = probabilities[150:] >= edge
            assert (ours == theirs[:, :, 0]).all()
            cells += ours.size
    assert cells == 36000
