"""What is to be pasted at the LightningCLI door is in its own words."""

from pathlib import Path

import pytest

from steelyard.cli import main
from steelyard.door.wording import in_words_of_the_door, pasted
from steelyard.problem import Refused, refuse

DIGITS = ["--model=Classification", "--model.model=MLP", "--model.optimizer=SGD", "--data=Digits"]


@pytest.mark.parametrize(
    ("fix", "typed"),
    [
        ("seed=1", "--seed_everything 1"),
        ("optimizer.lr=0.1", "--model.optimizer.lr 0.1"),
        ("model.norm=group", "--model.model.norm group"),
        ("task.modality=image", "--model.modality image"),
        ("data.batch_size=8 trainer.devices=1", "--data.batch_size 8 --trainer.devices 1"),
        ("data._target_=my_module.MyClass", "--data my_module.MyClass"),
        ("privacy=dp_sgd", "--privacy dp_sgd"),
        ("privacy=[dp_sgd,membership]", "--privacy '[dp_sgd,membership]'"),
        ("privacy.dp_sgd.target_epsilon=3", "--privacy.dp_sgd.target_epsilon 3"),
        ("model=resnet", "--model.model steelyard.models.ResNet"),
        ("task=detection model=rt_detr", "--model steelyard.tasks.Detection --model.model steelyard.models.RTDETR"),
        (
            "optimizer=adam",
            "--model.optimizer torch.optim.Adam --model.optimizer.lr 0.001 --model.optimizer.weight_decay 0.0",
        ),
        ("trainer=fsdp2", "--trainer.strategy fsdp2"),
        ("trainer=default trainer.devices=1", "--trainer.strategy auto --trainer.devices 1"),
    ],
)
def test_overrides_are_given_as_options(fix: str, typed: str) -> None:
    assert pasted(fix) == typed


@pytest.mark.parametrize(
    "fix",
    [
        "",
        "pip install 'steelyard[deepspeed]'",
        "--ckpt_path outputs/RUN/checkpoints/last.ckpt",
        "model=custom",
        "data=nowhere",
        "experiment=first_look",
        "trainer=ema",
        "hydra/sweeper=random",
        "seed=1 (or leave it out)",
    ],
)
def test_what_has_no_option_stays(fix: str) -> None:
    assert pasted(fix) == fix


def test_every_problem_of_a_refusal_is_put_so() -> None:
    with pytest.raises(Refused) as told, in_words_of_the_door():
        raise refuse("too many devices", fix="trainer.devices=1", party="ranks")
    (problem,) = told.value.problems
    assert (problem.message, problem.fix, problem.party) == ("too many devices", "--trainer.devices 1", "ranks")


def test_what_does_not_go_together_is_mended_by_what_is_pasted(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data=Shapes", "--data.limit=8", "--model=Classification", "--model.model=MLP", "--model.optimizer=SGD"]
    assert main(["lightning", "fit", *words]) == 2
    mended = ["--model", "steelyard.tasks.Detection", "--model.model", "steelyard.models.RTDETR"]
    assert " ".join(mended) in " ".join(capsys.readouterr().err.split())
    assert main(["lightning", "fit", *words, *mended, "--trainer.max_steps=1"]) == 0


def test_stage_3_is_refused_in_one_message(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["lightning", "fit", *DIGITS, "--trainer.accelerator=cpu", "--trainer.strategy", "deepspeed_stage_3"]) == 2
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "1 problem" in said
    assert "trainer.strategy=deepspeed_stage_3" in said
    assert "--trainer.strategy fsdp2" in said
    assert not list(workdir.glob("outputs/*"))


def test_a_class_that_is_not_named_is_named_by_an_option(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightning", "fit"]) == 2
    assert "--data my_module.MyClass" in " ".join(capsys.readouterr().err.split())
