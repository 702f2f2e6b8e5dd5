import pytest

from helpers import tiny
from helpers.plugins import Fake, claiming
from steelyard.preflight import claims, conflicts, preflight
from steelyard.problem import Problem, Refused
from steelyard.seam import TRAINER_ARGUMENTS, Seam
from steelyard.selection import Selected


def owner(key: str, seam: Seam = Seam.GRADIENTS) -> Selected:
    return Selected(key, claiming(owns=(seam,))())


def sharer(key: str, seam: Seam = Seam.GRADIENTS) -> Selected:
    return Selected(key, claiming(shares=(seam,))())


def found(*selected: Selected, **trainer: object) -> list[Problem]:
    return list(conflicts(list(claims(selected, trainer))))


def test_any_number_may_share() -> None:
    assert found(sharer("a.x"), sharer("b.y"), sharer("c.z")) == []


@pytest.mark.parametrize("other", [owner("b.y"), sharer("b.y")])
def test_an_owner_tolerates_nobody(other: Selected) -> None:
    (problem,) = found(owner("a.x"), other)
    assert problem.message == "a.x owns the gradients of the run, and b.y changes them too (or: b=none)"
    assert problem.fix == "a=none"


def test_the_fix_keeps_the_other_plugins_of_the_challenge() -> None:
    (problem,) = found(owner("a.x"), owner("a.y"), sharer("a.z", Seam.LENGTH))
    assert problem.fix == "a=[y,z]"
    assert problem.message.endswith("(or: a=[x,z])")


def test_different_seams_do_not_meet() -> None:
    assert found(owner("a.x", Seam.GRADIENTS), owner("b.y", Seam.MODULES)) == []


def test_an_argument_of_the_trainer_meets_a_plugin() -> None:
    (problem,) = found(owner("a.x"), gradient_clip_val=1.0)
    told = "trainer.gradient_clip_val=1.0 owns the gradients of the run, and a.x changes them too (or: a=none)"
    assert problem.message == told
    assert problem.fix == "trainer.gradient_clip_val=null"


def test_arguments_of_the_trainer_never_meet_each_other() -> None:
    assert found(gradient_clip_val=1.0, gradient_clip_algorithm="value", accumulate_grad_batches=4) == []


def test_a_default_claims_nothing() -> None:
    defaults = {name: argument.default for name, argument in TRAINER_ARGUMENTS.items()}
    assert found(*(owner(f"a.{seam}", seam) for seam in Seam), **defaults) == []


def test_limits_of_the_length_live_together() -> None:
    assert found(sharer("a.x", Seam.LENGTH), max_epochs=3, max_steps=10) == []


def test_the_table_knows_every_argument_that_the_design_names() -> None:
    import inspect

    from pytorch_lightning import Trainer

    assert set(TRAINER_ARGUMENTS) <= set(inspect.signature(Trainer.__init__).parameters)


def test_all_problems_of_all_plugins_come_at_once() -> None:
    selected = [
        Selected(
            "a.x", claiming(owns=(Seam.GRADIENTS,))(problems=(Problem("one", "x=1"), Problem("hint", level="note")))
        ),
        Selected("b.y", claiming(owns=(Seam.GRADIENTS,))(problems=(Problem("two", "y=2"),))),
    ]
    with pytest.raises(Refused) as caught:
        preflight(selected, tiny.draft())
    parties = [(problem.party, problem.level) for problem in caught.value.problems]
    assert parties == [("claims", "error"), ("a.x", "error"), ("a.x", "note"), ("b.y", "error")]
    assert "b.y: two\n    fix: y=2" in str(caught.value)


def test_notes_do_not_refuse() -> None:
    selected = [Selected("a.x", Fake(problems=(Problem("hint", level="note"),)))]
    assert [problem.message for problem in preflight(selected, tiny.draft())] == ["hint"]


def test_a_refusal_survives_pickling() -> None:
    import pickle

    refusal = Refused([Problem("one", "x=1", party="a.x")])
    assert pickle.loads(pickle.dumps(refusal)).problems == refusal.problems
