"""The quick path of sweeps composes what Hydra composes."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from steelyard.composing import Job, QuickLoader, ReadyJob, _quick, get_ready, set_number
from steelyard.composing._sketch import sketch


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Engine:
    power: int = 3
    colour: Colour = Colour.RED
    wheels: list[int] = field(default_factory=lambda: [1, 2])
    names: dict[str, float] = field(default_factory=lambda: {"a": 1.0})
    maybe: int | None = None
    needed: int = MISSING


FILES = {
    "main": """
defaults:
  - _self_
  - model: small
  - engine: typed
  - model@second: large
  - optional extra: none
  - tuned: ${model}
  - deep/er: one
  - env_chosen: ${oc.env:STEELYARD_TEST_CHOICE}
lr: 0.1
seed: 0
name: run-${seed}
where: ${oc.env:STEELYARD_TEST_HOME}
now: ${now:%H:%M:%S.%f}
job: ${hydra:job.override_dirname}
number: ${hydra:job.num}
wanted: ???
things: [1, 2, {x: 3}]
open: {a: 1, b: {c: 2}}
link: ${open.b}
flag: true
""",
    "model/small": "width: 8\ndepth: 2\nname: small\ntwice: ${model.width}",
    "model/large": "# @package _group_\nwidth: 64\ndepth: 20\nname: large\nhead: {bias: true}",
    "extra/more": "# @package _global_\nlr: 0.5\nadded: {z: 26}",
    "extra/needs": "# @package _global_\ndefaults:\n  - override /model: large\nseed: 7",
    "tuned/small": "factor: 1",
    "tuned/large": "factor: 10",
    "deep/er/one": "v: 1",
    "deep/er/two": "v: 2\nw: ${lr}",
    "env_chosen/left": "side: left",
    "env_chosen/right": "side: right",
}

WORDS = (
    # Values, plain and not.
    "lr=0.2", "lr=1e-3", "lr=null", "lr=${seed}", "seed=1", "seed=2", "seed='${lr}'", "name=new", "name='a=b,c'",
    "flag=false", "wanted=3", "wanted=[1,2]", "where=here", "now=never", "job=mine", "now=${now:%Y}",
    "things=[5]", "things=[]", "things.0=9", "things.2.x=4", "things.9=1", "open={a:2}", "open={b:{d:5}}", "open.a=2",
    "open.b.c=[1,{y:2}]", "open.b=7", "link.c=8", "link=null", "open.new=1", "open=${model}",
    "model.width=16", "model.width=${second.width}", "second.width=1", "second.head.bias=null", "model.head.bias=false",
    "tuned.factor=2", "deep.er.v=5", "deep.er.w=5", "env_chosen.side=up", "model={width:3}",
    # Typed values, right and wrong.
    "engine.power=5", "engine.power=much", "engine.colour=BLUE", "engine.colour=GREEN", "engine.wheels=[3]",
    "engine.wheels=[a]", "engine.names={b:2}", "engine.names.a=3", "engine.maybe=1", "engine.maybe=null",
    "engine.needed=4", "engine.needed=???", "engine.power=null", "engine.unknown=1",
    # Groups, packages, defaults that depend on a choice.
    "model=large", "model=small", "model=huge", "model@second=small", "second@second=small", "extra=more",
    "extra=needs", "extra=null", "deep/er=two", "deep/er=three", "+model@third=small", "+deep/er@more=two",
    "~model@second", "~tuned", "~extra", "tuned=large", "env_chosen=right", "model=[small,large]", "+model=large",
    "engine@motor=typed", "+engine@motor=typed",
    # Adding, forcing, deleting.
    "+new=1", "+new.deep.er=2", "++lr=3", "++new=4", "+lr=3", "+open.new=1", "+open={e:1}", "+things=[6]",
    "+open.b.c=3", "++engine.power=9", "++engine.power=x", "+engine.unknown=1", "~lr", "~open.a", "~open.b=3",
    "~seed=0", "~nothing", "~lr=0.1", "~link", "~link.c", "~engine.power", "~things", "+link.d=1", "+link.c=1",
    "+wanted=2", "~wanted",
    # Hydra's own.
    "hydra.job.name=other", "hydra.verbose=true", "+hydra.job.env_set.X=1", "hydra.job.env_copy=[STEELYARD_TEST_HOME]",
    "hydra/job_logging=none", "hydra/job_logging=stdout", "hydra={verbose:true}", "hydra.output_subdir=null",
    "hydra.job_logging.handlers.file.filename=${hydra.runtime.output_dir}/${lr}.log", "+hydra.job_logging.more=${open}",
    "hydra.job_logging.root.level=${wanted}", "hydra.job_logging=${open}", "hydra.sweep.subdir=${model.name}",
    "hydra.job.config.override_dirname.item_sep=_", "hydra.job.config.override_dirname.exclude_keys=[seed]",
    # Nothing that can be read, or nothing that is one value.
    "lr", "lr=", "lr=1,2", "@x=1", "a.b@c=1", "seed=choice(1,2)",
)  # fmt: skip

MASTERS: tuple[list[str], ...] = (
    [],
    ["hydra.sweep.dir=elsewhere"],
    ["hydra.job.config.override_dirname.kv_sep=:", "hydra.job.name=mine"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        path = place / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ConfigStore.instance().store(group="engine", name="typed", node=Engine)
    return place


@pytest.fixture
def loader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigLoader]:
    monkeypatch.setenv("STEELYARD_TEST_CHOICE", "left")
    monkeypatch.setenv("STEELYARD_TEST_HOME", "/home/of/the/test")
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def master(loader: ConfigLoader, words: list[str]) -> DictConfig:
    made = loader.load_configuration("main", words, RunMode.MULTIRUN)
    assert made.now  # the time of the sweep, which its jobs share
    return made


def shape(node: Any, resolve: bool) -> Any:
    """Everything that can be asked of a config."""
    if not isinstance(node, DictConfig | ListConfig):
        return type(node), node
    about = (OmegaConf.get_type(node), OmegaConf.is_struct(node), OmegaConf.is_readonly(node))
    if node._is_none() or node._is_missing() or (node._is_interpolation() and not resolve):
        return about, node._value()
    keys = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    below = []
    for key in keys:
        raw = node._get_node(key)
        followed = resolve and OmegaConf.is_interpolation(node, key)
        if OmegaConf.is_missing(node, key):
            below.append((key, "???"))
        elif followed:
            try:
                below.append((key, shape(node[key], resolve)))
            except OmegaConfBaseException as error:
                below.append((key, type(error), str(error)))
        elif isinstance(raw, DictConfig | ListConfig):
            below.append((key, shape(raw, resolve)))
        else:
            below.append((key, type(raw), raw._metadata.ref_type, raw._metadata.optional, raw._value()))
    return about, below


@contextmanager
def known(config: DictConfig) -> Iterator[None]:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def outcome(loader: ConfigLoader, start: DictConfig, words: list[str]) -> Any:
    """The config with all interpolations and as it stands, or the error."""
    try:
        made = loader.load_sweep_config(start, words)
    except Exception as error:
        return type(error), str(error)
    OmegaConf.set_struct(made.hydra, False)
    made.hydra.job.num = 3
    with known(made):
        return shape(made, resolve=False), shape(made, resolve=True)


def plainly(loader: ConfigLoader, start: DictConfig, words: list[str]) -> Job:
    """A job as Hydra composes it."""
    whole, handed = loader.load_sweep_config(start, words), loader.load_sweep_config(start, words)
    set_number(whole, 3)
    OmegaConf.set_struct(handed, False)
    del handed["hydra"]
    OmegaConf.set_struct(handed, True)
    return Job(config=whole, handed=handed)


def before(job: Job) -> Any:
    """What a job's process starts with, but for the configs; or the error."""
    try:
        ready = get_ready(job)
    except OmegaConfBaseException as error:
        return type(error), str(error)
    return {name: getattr(ready, name) for name in ReadyJob.__slots__ if name not in ("config", "handed")}


def compare(loader: ConfigLoader, seeds: range) -> tuple[int, int]:
    """How many combinations composed, and how often Hydra had to compose for them."""
    quick = {at: QuickLoader(loader) for at in range(len(MASTERS))}
    starts = [master(loader, words) for words in MASTERS]
    composed = 0
    for seed in seeds:
        draw = random.Random(seed)
        at = draw.randrange(len(MASTERS))
        words = draw.sample(WORDS, draw.randint(0, 4))
        expected = outcome(loader, starts[at], words)
        assert outcome(quick[at], starts[at], words) == expected, words
        if not isinstance(expected[0], type):
            composed += 1
            # Now from what is kept.
            assert outcome(quick[at], starts[at], words) == expected, words
            # And what the task gets of it, with all that comes before the job.
            about, below = expected[0]
            rest = [entry for entry in below if entry[0] != "hydra"]
            way = quick[at]._way(starts[at], words)
            kept = way and (way.key in quick[at].known(), way.base.copy(bare=False))
            # The last one in a fork, which changes what is kept.
            for spend in (False, True):
                job = quick[at].job(starts[at], words, number=3, key=way and way.key, spend=spend)
                assert shape(job.handed, resolve=False) == (about, rest), words
                assert before(job) == before(plainly(loader, starts[at], words)), words
            if kept:
                assert kept[0]
                way.base.config = kept[1]
    return composed, sum(one.composed for one in quick.values())


def test_some_random_combinations(loader: ConfigLoader) -> None:
    composed, _ = compare(loader, range(20))
    assert composed > 5


@pytest.mark.slow
def test_a_thousand_random_combinations(loader: ConfigLoader) -> None:
    composed, _ = compare(loader, range(1000, 2000))
    assert composed > 300


@pytest.mark.slow
def test_every_word_alone(loader: ConfigLoader) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    failed = 0
    for word in WORDS:
        expected = outcome(loader, start, [word])
        assert outcome(quick, start, [word]) == expected, word
        failed += isinstance(expected[0], type)
    assert 10 < failed < len(WORDS) / 2


class Checker(Sweeper):
    def __init__(self, loader: ConfigLoader, start: DictConfig) -> None:
        self.hydra_context, self.config = HydraContext(config_loader=loader, callbacks=Callbacks()), start

    def setup(self, **_: Any) -> None: ...

    def sweep(self, arguments: list[str]) -> None: ...


def checked(loader: ConfigLoader, start: DictConfig, words: list[str]) -> Any:
    """What a sweeper says of a job before all jobs start."""
    try:
        Checker(loader, start).validate_batch_is_legal([words])
    except Exception as error:
        return type(error), str(error)
    return None


def compare_checks(loader: ConfigLoader, draws: range) -> tuple[int, int]:
    """How many combinations are legal, and how many were tried without a copy."""
    quick, start, legal = QuickLoader(loader), master(loader, []), 0
    values = [word for word in WORDS if re.match(r"(\+\+)?(lr|seed|engine|open|model\.|tuned\.|link|flag|name)", word)]
    for at in draws:
        draw = random.Random(at)
        words = draw.sample(values if at % 2 else WORDS, draw.randint(1, 3))
        expected = checked(loader, start, words)
        assert checked(quick, start, words) == expected, words
        assert checked(quick, start, words) == expected, words
        legal += expected is None
    return legal, sum(base.tried is not None for base in quick._bases.values())


def test_a_check_says_what_hydra_says(loader: ConfigLoader) -> None:
    legal, tried = compare_checks(loader, range(30))
    assert 5 < legal < 25
    assert tried


@pytest.mark.slow
def test_five_hundred_checks_say_what_hydra_says(loader: ConfigLoader) -> None:
    legal, tried = compare_checks(loader, range(1000, 1500))
    assert 100 < legal < 400
    assert tried


def test_one_real_composition_per_choice_of_groups(loader: ConfigLoader) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    for model in ("small", "large"):
        for seed in range(20):
            made = quick.load_sweep_config(start, [f"model={model}", f"seed={seed}", f"+new={seed}", "~flag"])
            assert (made.seed, made.new, made.tuned.factor) == (seed, seed, 1 if model == "small" else 10)
    assert quick.composed == 2


def test_a_fork_with_another_environment_composes_nothing_anew(
    loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    way = quick.way(start, ["seed=1"])
    assert way is not None
    monkeypatch.setenv("SHARE_OF_THREADS", "1")
    job = quick.job(start, ["seed=1"], number=3, key=way.key)
    assert quick.composed == 1
    assert before(job) == before(plainly(loader, start, ["seed=1"]))


@pytest.mark.parametrize("word", ["seed=${now:%S}", "+new=${model.size}"])
def test_a_word_that_asks_something_is_composed_where_all_are(loader: ConfigLoader, word: str) -> None:
    assert QuickLoader(loader).way(master(loader, []), [word]) is None


@pytest.mark.parametrize(
    ("text", "steady"),
    [
        ("${now:%S}/${oc.env:HOME}/${hydra.job.num}/${ hydra:job.num }", True),
        ("${count:}", False),
        ("x${ my.count : 1}", False),
        ("${${name}:1}", False),
        ("${hydra.${count:}}", False),
    ],
)
def test_a_function_of_the_application_is_seen_wherever_it_is_asked(text: str, steady: bool) -> None:
    config = {"hydra": {"sweep": {"dir": "out", "subdir": "x"}, "job": {}, "overrides": {}, "runtime": {}}}
    config["hydra"]["job_logging"] = {"text": text}
    assert sketch(OmegaConf.create(config)).steady is steady


def test_what_was_made_for_a_check_is_given_away_once(loader: ConfigLoader) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    quick.keeps = True
    # The same words twice are two jobs.
    for _ in range(2):
        quick.load_sweep_config(start, ["seed=1"])
    given = [quick.taken(start, ["seed=1"]) for _ in range(3)]
    assert len({id(one) for one in given}) == 3
    expected = shape(loader.load_sweep_config(start, ["seed=1"]), resolve=False)
    assert [shape(one, resolve=False) == expected for one in given] == [True] * 3


def test_a_config_that_was_given_out_may_be_spoiled(loader: ConfigLoader) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    first = quick.load_sweep_config(start, ["seed=1"])
    first.open.b.c = 99
    first.things.append(4)
    first.engine.wheels.append(4)
    again = quick.load_sweep_config(start, ["seed=1"])
    assert (again.open.b.c, len(again.things), list(again.engine.wheels)) == (2, 3, [1, 2])


def test_the_environment_is_read_by_the_job(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    quick.load_sweep_config(start, ["seed=1"])
    monkeypatch.setenv("STEELYARD_TEST_HOME", "/another")
    assert quick.load_sweep_config(start, ["seed=2"]).where == "/another"
    monkeypatch.setenv("STEELYARD_TEST_CHOICE", "right")
    assert quick.load_sweep_config(start, ["seed=3"]).env_chosen.side == "right"


def test_jobs_share_the_time_of_the_sweep(loader: ConfigLoader) -> None:
    quick, start = QuickLoader(loader), master(loader, [])
    assert {quick.load_sweep_config(start, [f"seed={seed}"]).now for seed in range(3)} == {start.now}


def test_what_is_kept_stays_bounded(loader: ConfigLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_quick, "MOST", 3)
    quick, start = QuickLoader(loader), master(loader, [])
    for number in range(_quick.MOST + 5):
        quick.load_sweep_config(start, [f"hydra.job.name=j{number}"])
    assert len(quick._bases) == _quick.MOST
