"""The report of one run: structure, honesty, escaping, redaction."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

import report_samples as samples
from report_pages import check_self_contained, page
from steelyard.measurement import Better, Measurement, Status
from steelyard.report import render
from steelyard.scorecard import Section, StoredArtefact


@pytest.fixture
def good(tmp_path):
    return samples.write(tmp_path / "run", samples.scorecard(private=True, requirements=samples.requirements()))


def test_it_stands_alone(good):
    check_self_contained(page(render(good)))


def test_the_verdict_comes_first(good):
    words = page(render(good)).words
    assert words.index("All 2 requirements are met.") < words.index("Accuracy")


def test_every_number_is_there_with_unit_and_interval(good):
    found = page(render(good))
    assert "0.922" in found.words
    assert "0.905 to 0.939" in found.words
    assert "5.50 ms" in found.words
    exact = {tag.attrs["value"] for tag in found.named("data")}
    card = samples.scorecard(private=True)
    values = {repr(float(item.value)) for item in card.measurements() if item.value is not None}
    assert values <= exact


def test_every_number_says_once_what_it_means(good):
    words = page(render(good)).words
    assert "Share of the test examples that it decides right." in words
    # A curve says it once, not at every point.
    assert words.count("Share of the answers that change under noise of this level.") == 1


def test_a_number_for_each_plugin_says_once_what_it_means(tmp_path):
    rows = tuple(
        Measurement(name="a.b.spent", value=1.0, at={"plugin": plugin}, meaning="what it took") for plugin in "cd"
    )
    section = Section(key="a.b", status=Status.MEASURED, measurements=rows)
    words = page(render(samples.write(tmp_path / "run", samples.scorecard(extra=(section,))))).words
    assert words.count("What it took.") == 1


def test_a_note_and_a_reason_that_numbers_share_stand_once(tmp_path):
    kept = [
        Measurement(name="a.b.gap", value=1.0, at={"method": at}, note="removal shows what is not in the data")
        for at in "cd"
    ]
    lost = [
        Measurement(name="a.b.gap", status=Status.SKIPPED, at={"method": at}, note="no gradient at all") for at in "ef"
    ]
    section = Section(key="a.b", status=Status.MEASURED, measurements=(*kept, *lost))
    words = page(render(samples.write(tmp_path / "run", samples.scorecard(extra=(section,))))).words
    assert words.count("Removal shows what is not in the data") == 1
    assert words.count("No gradient at all") == 1
    assert "gap, method f skipped As above" in words.replace("Gap", "gap")


def test_the_numbers_of_a_grid_have_room(tmp_path):
    rows = tuple(
        Measurement(name="a.b.kept", value=0.1234 * step, at={"order": f"number {branch}", "removed": step * 0.0995})
        for branch in range(7)
        for step in range(11)
    )
    section = Section(key="a.b", status=Status.MEASURED, measurements=rows)
    found = page(render(samples.write(tmp_path / "run", samples.scorecard(extra=(section,)))))
    box = next(tag for tag in found.named("svg") if tag.attrs.get("aria-label", "").startswith("Kept. Across"))
    cells = [tag for tag in found.named("rect") if "cell" in tag.attrs.get("class", "")]
    # "0.12" and a little air, each letter about 6 wide.
    assert min(float(tag.attrs["width"]) for tag in cells) > 4 * 6 + 4
    assert float(box.attrs["viewbox"].split()[2]) > 400


@pytest.mark.parametrize(("branches", "cells"), [(6, 0), (7, 14)])
def test_more_branches_than_marks_are_a_grid(tmp_path, branches, cells):
    rows = tuple(
        Measurement(name="a.b.kept", value=branch + step / 10, at={"kind": f"number_{branch}", "step": float(step)})
        for branch in range(branches)
        for step in (1, 2)
    )
    section = Section(key="a.b", status=Status.MEASURED, measurements=rows)
    found = page(render(samples.write(tmp_path / "run", samples.scorecard(extra=(section,)))))
    boxes = [tag for tag in found.named("rect") if "cell" in tag.attrs.get("class", "")]
    assert len(boxes) == cells
    depths = [float(tag.attrs["fill-opacity"]) for tag in boxes]
    assert depths == sorted(depths)
    # A row goes by what tells it from the others.
    assert ("number 6" in found.words) == (cells > 0)


def test_numbers_of_one_name_with_several_meanings_say_each(tmp_path):
    rows = tuple(
        Measurement(name="a.b.changed", value=0.0, at={"way": way}, meaning=f"what changed {way}")
        for way in ("alone", "again")
    )
    section = Section(key="a.b", status=Status.MEASURED, measurements=rows)
    words = page(render(samples.write(tmp_path / "run", samples.scorecard(extra=(section,))))).words
    assert "What changed alone." in words
    assert "What changed again." in words


def test_parts_of_a_cell_do_not_run_together(good):
    words = page(render(good)).words
    assert "0.905 to 0.939, 95 % interval" in words
    assert "n = 340, differs from run to run" in words
    assert not re.search(r"[0-9](95 %|differs)", words)


def test_a_scorecard_from_before_meanings_has_a_page(good):
    path = good / "scorecard.json"
    card = samples.json.loads(path.read_text())
    for section in card["sections"]:
        for row in section["measurements"]:
            del row["meaning"]
    path.write_text(samples.json.dumps(card))
    assert "0.905 to 0.939" in page(render(good)).words


def test_what_is_missing_is_said_and_never_zero(tmp_path):
    words = page(render(samples.write(tmp_path / "run", samples.failing()))).words
    assert "stability.noise failed while measuring" in words
    assert "1 of 2 requirements is not met" in words
    assert "Needs at least 1,000 members, there are 360" in words
    assert "Not to be trusted, since a control failed: interpretability.attribution.agreement" in words
    assert "no</b> space left" in words


@pytest.mark.parametrize("state", ["failed", "refused", "interrupted", "terminated", "running"])
def test_a_run_without_a_scorecard_has_a_page(tmp_path, state):
    run = samples.write(tmp_path / "run", None, state=state, exit_code=3, message="RuntimeError: the loss is NaN")
    (run / "traceback.txt").write_text("Traceback (most recent call last):\n  File <x>\nRuntimeError: the loss is NaN")
    found = page(render(run))
    check_self_contained(found)
    assert "the loss is NaN" in found.words
    assert "File <x>" in found.words
    assert "split_seed: 0" in found.words
    # Nobody holds the lock of a folder that says `running`.
    assert ("killed" if state == "running" else state.replace("terminated", "told to end")) in found.words


def test_a_folder_with_a_status_alone_has_a_page(tmp_path):
    run = samples.write(tmp_path / "run", None, state="failed")
    (run / "config.yaml").unlink()
    (run / "provenance.json").unlink()
    check_self_contained(page(render(run)))


def test_another_folder_is_no_run_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        render(tmp_path)


def test_names_with_html_stay_text(tmp_path):
    evil = "<script>alert(1)</script>\"'&"
    section = Section(
        key=f"{evil}.{evil}",
        status=Status.FAILED,
        settings={evil: {evil: [evil]}},
        measurements=(
            Measurement(name=f"{evil}.{evil}.{evil}", value=1.0, unit=evil, better=Better.LOWER, note=evil, split=evil),
            *(
                Measurement(name=f"{evil}.{evil}.curve", value=1.0, at={evil: at, "of": evil}, note=evil, unit=evil)
                for at in (1.0, 2.0)
            ),
        ),
        artefacts=(
            StoredArtefact(kind="picture", title=evil, path="a/b.png", alt=evil),
            StoredArtefact(kind="table", title=evil, path="a/b.csv"),
        ),
        error=evil,
    )
    card = replace(samples.scorecard(extra=(section,)), title=evil, notes=(evil,), overrides=(f"x={evil}",), spec=evil)
    run = samples.write(tmp_path / "run", card, message=evil, config=f"a: {evil}", provenance={evil: {evil: evil}})
    (run / "a" / "b.csv").write_text(f"{evil}\n{evil}\n")
    path = render(run)
    found = page(path)
    check_self_contained(found)
    assert "<script" not in path.read_text()
    assert found.words.count("<script>alert(1)</script>") > 15


def test_the_bytes_are_a_function_of_the_folder(good):
    first = render(good).read_bytes()
    assert render(good).read_bytes() == first


def test_the_public_page_leaves_out_training_data(tmp_path):
    run = samples.write(tmp_path / "run", samples.failing())
    full, public = page(render(run)), page(render(run, public=True))
    check_self_contained(public)
    assert (run / "report_public.html").exists()
    card = samples.failing()
    hidden = [item for item in card.measurements() if item.split == "train"]
    assert hidden
    shown = {tag.attrs["value"] for tag in public.named("data")}
    for item in hidden:
        if item.value is not None and item.at == {}:
            assert repr(item.value) in {tag.attrs["value"] for tag in full.named("data")}
            assert repr(item.value) not in shown
    assert "Losses of members" in full.words
    assert "Losses of members" not in public.words
    assert "space left on device" in full.words
    assert "space left on device" not in public.words
    assert f"{len(hidden)} measurements and 1 pictures and tables" in public.words


def test_the_public_page_hides_verdicts_on_training_data(tmp_path):
    on_members = replace(samples.requirements()[0], name="privacy.membership.auc", held=0.123456)
    run = samples.write(tmp_path / "run", samples.scorecard(private=True, requirements=(on_members,)))
    assert "0.1235" in page(render(run)).words
    public = page(render(run, public=True)).words
    assert "0.1235" not in public
    assert "1 requirements on them" in public


def test_a_picture_that_is_gone_or_outside_is_said(good):
    (good / "interpretability" / "attribution" / "samples.png").unlink()
    (good / "interpretability" / "attribution" / "samples.csv").unlink()
    (good / "privacy" / "membership" / "losses.png").write_bytes(b"no picture")
    words = page(render(good)).words
    assert words.count("is missing or is no PNG picture") == 2
    assert "samples.csv is missing" in words


def test_nothing_outside_the_folder_is_read(tmp_path):
    (tmp_path / "secret.csv").write_text("token\nhunter2\n")
    section = Section(
        key="a.b",
        status=Status.MEASURED,
        artefacts=(StoredArtefact(kind="table", title="Out", path="../secret.csv"),),
    )
    run = samples.write(tmp_path / "run", replace(samples.scorecard(), sections=()))
    card = replace(samples.scorecard(), sections=(section,))
    (run / "scorecard.json").write_text(samples.json.dumps(card.to_json()))
    assert "hunter2" not in render(run).read_text()


def test_how_to_reproduce_can_be_pasted(good):
    assert "steelyard run experiment=first_look 'privacy=[dp_sgd,membership]' seed=0" in page(render(good)).words


def test_reports_need_no_torch(tmp_path):
    samples.first_look(tmp_path / "sweep")
    code = (
        "import sys, pathlib\n"
        "from steelyard import report, sweep\n"
        f"folder = pathlib.Path({str(tmp_path / 'sweep')!r})\n"
        "report.render(folder / '0')\n"
        "sweep.print_sweep(sweep.finish(folder))\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pytorch_lightning', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, timeout=60)


def test_importing_the_report_imports_no_rich_and_no_jinja():
    code = "import sys, steelyard.report; assert not {'rich', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_full_disk_leaves_the_old_report(good, monkeypatch):
    before = render(good).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"report\.html"):
        render(good)
    assert (good / "report.html").read_bytes() == before
    assert not list(good.glob("*.tmp")) + list(good.glob(".*.tmp"))
