import json
from pathlib import Path

import report_samples as samples
from steelyard.measurement import Status
from steelyard.panel import Check, Mark, Panel, PanelChart, PanelLine
from steelyard.report import render
from steelyard.report.panels import panel
from steelyard.scorecard import Scorecard, Section, StoredArtefact

EVIL = '<script>alert("x")</script> & \N{HEBREW LETTER ALEF}'
LINE = PanelLine(name=EVIL, points=((0.0, 1.0), (0.5, 0.2), (1.0, 0.1)))
PANEL = Panel(
    verdict=Check(name="Not to be trusted:", mark=Mark.BAD, words=EVIL),
    checks=tuple(Check(name=EVIL, mark=mark, words="0.3") for mark in Mark),
    charts=(PanelChart(title="Deletion", x_label="removed", y_label="certainty", lines=(LINE, LINE)),),
    facts=(("baseline", EVIL),),
)


def test_a_panel_comes_back_from_the_scorecard() -> None:
    stored = StoredArtefact(kind="picture", title="Map", path="a.png", panel=PANEL)
    card = Scorecard(
        title="t", spec="s", seed=0, sections=(Section(key="a.b", status=Status.MEASURED, artefacts=(stored,)),)
    )

    assert Scorecard.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_a_scorecard_without_panels_is_still_read() -> None:
    card = Scorecard(
        title="t",
        spec="s",
        seed=0,
        sections=(
            Section(
                key="a.b",
                status=Status.MEASURED,
                artefacts=(StoredArtefact(kind="picture", title="Map", path="a.png"),),
            ),
        ),
    )
    plain = json.loads(json.dumps(card.to_json()))
    del plain["sections"][0]["artefacts"][0]["panel"]

    assert Scorecard.from_json(plain) == card


def test_every_mark_is_seen_and_read_aloud() -> None:
    shown = panel(PANEL)

    assert shown is not None
    assert [check.mark for check in shown.checks] == ["good", "doubtful", "bad", "open"]
    assert len({check.sign for check in shown.checks}) == len({check.aloud for check in shown.checks}) == 4
    assert panel(None) is None


def test_what_a_panel_says_is_escaped(tmp_path: Path) -> None:
    stored = StoredArtefact(kind="picture", title="Map", path="a.png", panel=PANEL)
    section = Section(key="a.b", status=Status.MEASURED, artefacts=(stored,))
    folder = samples.write(tmp_path / "run", samples.scorecard(extra=(section,)))

    text = render(folder).read_text()

    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5


def test_a_certainty_near_zero_is_drawn_near_zero() -> None:
    steep = PanelLine(name="ours", points=((0.0, 1.0), (0.5, 1e-6), (1.0, 0.5)))
    drawn = PanelChart(title="Deletion", x_label="removed", y_label="certainty", lines=(steep,))
    shown = panel(Panel(verdict=PANEL.verdict, charts=(drawn,)))

    assert shown is not None
    ticks = str(shown.charts[0][1])
    assert all(f">{tick}<" in ticks for tick in ("0", "0.2", "0.4", "0.6", "0.8", "1"))
