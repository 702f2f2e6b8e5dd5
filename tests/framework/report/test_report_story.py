"""What a sweep found, in sentences: who differs in what, and what chance could have done."""

from dataclasses import replace

import report_samples as samples
from steelyard.measurement import Better, Measurement, Status
from steelyard.report.measures import joined, measures, section_keys
from steelyard.report.story import story
from steelyard.report.sweep_page import glance, spent
from steelyard.scorecard import Section
from steelyard.sweep import finish


def told(folder, *trials, choices):
    """The story of trials that differ in one choice; a trial is a list of measurements named after their plugins."""
    for number, (items, choice) in enumerate(zip(trials, choices, strict=True)):
        found = {item.name.rpartition(".")[0]: item for item in items}
        sections = tuple(Section(key=key, status=Status.MEASURED, measurements=(item,)) for key, item in found.items())
        card = replace(samples.scorecard(choices=choice), sections=sections)
        samples.write(folder / str(number), card)
    groups = finish(folder).groups
    once = joined(groups, {key: measures(groups, key) for key in section_keys(groups)})
    return story(groups, [item for section in once.values() for item in glance(section)])


def number(name, value, *, half=None, better=Better.HIGHER, **rest):
    interval = None if half is None else (value - half, value + half)
    return Measurement(name=name, value=value, interval=interval, better=better, **rest)


def test_two_groups_are_told_against_the_plain_one(tmp_path):
    first_look = finish(samples.first_look(tmp_path / "sweep"))
    found = story(
        first_look.groups,
        [item for key in section_keys(first_look.groups) for item in glance(measures(first_look.groups, key))],
    )
    assert found[0].startswith("privacy=dp_sgd against plain: accuracy 0.922 instead of 0.972 (worse)")
    assert "step seconds 5.50 ms instead of 2.10 ms (worse)" in found[0]
    assert "Not told apart: AUC." in found
    assert "Only privacy=dp_sgd has epsilon: 7.98." in found


def test_the_plain_group_is_the_base_wherever_it_stands(tmp_path):
    better = [number("x.y.hits", 0.9, half=0.01)]
    worse = [number("x.y.hits", 0.5, half=0.01)]
    choices = ({"stability": "noise,mixed"}, {"stability": "noise"})
    assert told(tmp_path / "s", better, worse, choices=choices) == [
        "stability=mixed against plain: hits 0.900 instead of 0.500 (better)."
    ]


def test_what_chance_could_have_done_is_said(tmp_path):
    sampled = [number("x.y.hits", 0.9, count=10), number("x.z.size", 3.0, better=Better.LOWER)]
    other = [number("x.y.hits", 0.5, count=10), number("x.z.size", 3.0, better=Better.LOWER)]
    assert told(tmp_path / "s", sampled, other, choices=({"model": "mlp"}, {"model": "cnn"})) == [
        "model=cnn against model=mlp: hits 0.5 instead of 0.9 (worse, by chance perhaps).",
        "Equal: size.",
    ]


def test_of_many_groups_the_best_are_named(tmp_path):
    trials = [
        [number("x.y.hits", hits, half=half), number("x.z.auc", auc, half=0.1)]
        for hits, half, auc in ((0.9, 0.01, 0.5), (0.5, 0.01, 0.55), (0.2, 0.01, 0.9))
    ]
    choices = [{"model": model} for model in ("mlp", "cnn", "bert")]
    assert told(tmp_path / "s", *trials, choices=choices) == [
        "model=mlp is best at hits.",
        "model=bert is best at AUC.",
    ]


def test_a_shared_lead_has_no_winner(tmp_path):
    trials = [[number("x.y.hits", hits, half=0.1)] for hits in (0.9, 0.85, 0.2)]
    choices = [{"model": model} for model in ("mlp", "cnn", "bert")]
    assert told(tmp_path / "s", *trials, choices=choices) == [
        "Several share the lead at hits: chance could order them."
    ]


def levers(*chosen):
    """A trial for each choice of plugins, each of which counts the same parameters."""
    said = {"unit": "", "better": Better.LOWER, "meaning": "numbers that training may change"}
    trials = [
        [number(f"compute.{name}.parameters", len(name), **said) for name in names.split(",")] for names in chosen
    ]
    return trials, [{"compute": names} for names in chosen]


def test_what_two_plugins_count_alike_is_one_row_for_both(tmp_path):
    trials, choices = levers("lora", "qlora", "lora")
    trials[2] = [number("task.hits", 0.9)]
    choices[2] = {"compute": "none"}
    assert told(tmp_path / "s", *trials, choices=choices) == [
        "compute=lora is best at parameters.",
        "Only plain has hits: 0.9.",
    ]
    groups = finish(tmp_path / "s").groups
    once = joined(groups, {key: measures(groups, key) for key in section_keys(groups)})
    assert [(item.plugin, item.label) for item in once["compute.lora"]] == [("lora, qlora", "Parameters")]
    assert once["compute.qlora"] == []
    # The plugins' own tables keep what each of them says.
    assert [cell.value for cell in measures(groups, "compute.qlora")[0].cells] == ["", "5", ""]


def test_what_a_group_has_of_two_plugins_is_told_under_their_names(tmp_path):
    trials, choices = levers("lora,qlora", "lora", "freeze")
    assert told(tmp_path / "s", *trials, choices=choices) == [
        "Several share the lead at parameters (freeze, lora): chance could order them.",
        "Only compute=lora,qlora has parameters (qlora): 5.",
    ]


def test_one_group_has_no_story(tmp_path):
    assert told(tmp_path / "s", [number("x.y.hits", 0.9)], choices=[{}]) == []


def test_beside_a_time_a_glance_has_the_memory_and_the_energy_that_set_groups_apart(tmp_path):
    def taken(*, memory, energy):
        lower = {"better": Better.LOWER, "timing": True}
        return (
            number("x.y.seconds", energy / 10, unit="s", **lower),
            number("x.y.whole_seconds", energy, unit="s", **lower),
            number("x.y.hook_memory", energy, unit="MiB", at={"plugin": "z"}, **lower),
            number("x.y.memory", memory, unit="MiB", **lower),
            number("x.y.size", memory, unit="KiB", better=Better.LOWER),
            number("x.y.energy", energy, unit="J", **lower),
        )

    def shown(name, *trials):
        for place, found in enumerate(trials):
            section = Section(key="x.y", status=Status.MEASURED, measurements=found)
            card = replace(samples.scorecard(choices={"model": f"m{place}"}), sections=(section,))
            samples.write(tmp_path / name / str(place), card)
        section = measures(finish(tmp_path / name).groups, "x.y")
        first = glance(section)
        return [item.name.rpartition(".")[2] for item in [*first, *spent(section, first)]]

    assert shown("a", taken(memory=5.0, energy=7.0), taken(memory=6.0, energy=8.0)) == ["seconds", "memory", "energy"]
    assert shown("b", taken(memory=5.0, energy=7.0), taken(memory=5.0, energy=8.0)) == ["seconds", "energy"]
    # What takes nothing has one row.
    plain = taken(memory=5.0, energy=7.0)[4:5], taken(memory=6.0, energy=7.0)[4:5]
    assert shown("c", *plain) == ["size"]
