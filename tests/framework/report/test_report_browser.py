"""The pages in a real browser: they open, and nothing is cut on a phone, a desktop or paper."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

import report_samples as samples
from steelyard.measurement import Better
from steelyard.report import render
from steelyard.sweep import finish
from steelyard.trials import pareto

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium: apt-get install chromium")

# Goes into a copy of the page, in a frame as wide as the window should be, since Chromium's own window is never
# narrower than 500 pixels. What reaches over the edge counts unless a box around it scrolls.
PROBE = """
<script>
addEventListener('load', () => {
  const width = document.documentElement.clientWidth;
  const boxed = node => ['auto', 'scroll'].includes(getComputedStyle(node).overflowX);
  const scrolls = node => node && (boxed(node) || scrolls(node.parentElement));
  const clipped = node => node && (getComputedStyle(node).clipPath !== 'none' || clipped(node.parentElement));
  const inside = node => node.closest('svg') && node.tagName.toLowerCase() !== 'svg';
  const over = [], cut = [], empty = [];
  for (const node of document.body.querySelectorAll('*')) {
    if (clipped(node) || inside(node)) continue;
    const box = node.getBoundingClientRect();
    if (box.width && (box.right > width + 0.5 || box.left < -0.5) && !scrolls(node.parentElement))
      over.push(`${node.tagName}.${node.getAttribute('class')} ${Math.round(box.left)}..${Math.round(box.right)}`);
    const hides = getComputedStyle(node).overflowX === 'hidden';
    if (hides && node.scrollWidth > node.clientWidth + 1) cut.push(node.tagName);
    if (node.tagName === 'IMG' && !node.naturalWidth) empty.push(node.alt);
  }
  for (const table of document.querySelectorAll('.few'))
    if (table.scrollWidth > table.parentElement.clientWidth) cut.push('few');
  const labels = [];
  for (const svg of document.querySelectorAll('svg.chart'))
    for (const text of svg.querySelectorAll('text')) {
      const outer = svg.getBoundingClientRect(), box = text.getBoundingClientRect();
      if (box.width && (box.left < outer.left - 1 || box.right > outer.right + 1)) labels.push(text.textContent);
    }
  const glance = document.querySelector('.glance');
  const pieces = document.createTreeWalker(document.querySelector('.glance thead') ?? document.createElement('p'), 4);
  const broken = [], range = document.createRange();
  while (pieces.nextNode()) {
    range.selectNodeContents(pieces.currentNode);
    const box = [...range.getClientRects()].map(one => Math.round(one.top));
    if (new Set(box).size > 1 && !/ /.test(pieces.currentNode.textContent.trim())) broken.push(range.toString());
  }
  const bottom = glance ? glance.getBoundingClientRect().bottom : 0;
  const found = parent.document.createElement('pre');
  found.id = 'probe';
  const scroll = document.documentElement.scrollWidth;
  found.textContent = JSON.stringify({width, scroll, over, cut, empty, labels, broken, bottom});
  parent.document.body.append(found);
});
</script>
"""


def chromium(profile, *words):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}"]
    done = subprocess.run([CHROMIUM, *flags, *words], capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


def probe(path: Path, *, width: int):
    page = path.read_text(encoding="utf-8").replace("</head>", PROBE + "</head>")
    frame = (
        f'<body style="margin:0"><iframe style="border:0" width={width} height=900 srcdoc="{escape(page)}"></iframe>'
    )
    copy = path.with_name("probe.html")
    copy.write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    dom = chromium(path.parent / ".profile", "--window-size=1400,900", "--dump-dom", copy.as_uri())
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return json.loads(unescape(found.group(1)))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages with long names, long words and failures in them."""
    place = tmp_path_factory.mktemp("pages")
    long = "stability." + "a_very_long_plugin_name_that_never_ends" * 2
    strange = replace(samples.noise(), key=long, error="E" * 300, settings={"x" * 80: "y" * 200})
    extra = replace(
        strange, measurements=tuple(replace(m, name=f"{long}.{'m' * 60}") for m in strange.measurements[:1])
    )
    card = samples.scorecard(private=True, requirements=samples.requirements(met=False), extra=(extra,))
    run = samples.write(place / "run", replace(card, title="t" * 150))
    dead = samples.write(place / "dead", None, state="failed", message="RuntimeError: " + "z" * 300)
    sweep = samples.first_look(place / "sweep")
    samples.write(sweep / "2", None, state="failed", exit_code=3, message="RuntimeError: " + "z" * 300)
    return {"run": render(run), "dead": render(dead), "sweep": finish(sweep).page}


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", ["run", "dead", "sweep"])
def test_nothing_is_cut(pages, name, width):
    found = probe(pages[name], width=width)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["over"] == []
    assert found["cut"] == []
    assert found["empty"] == []
    assert found["labels"] == []


def marked(dom: str):
    """Numbers of the groups that the script drew strong, and of all that it drew."""
    drawn = re.findall(r'<circle[^>]*class="([^"]+)" data-at="(\d+)"', dom)
    return {int(at) for kind, at in drawn if kind == "mark s1"}, {int(at) for _, at in drawn}


def test_the_script_draws_the_front_of_two_scores(tmp_path):
    folder = tmp_path / "s"
    for number in range(40):
        card = samples.scorecard(shift=(number * 17 % 40) / 1000)
        sections = tuple(
            replace(
                one,
                measurements=tuple(
                    replace(m, value=(m.value or 0) + (number * 7 % 40) / 5000) for m in one.measurements
                ),
            )
            if one.key == "compute.cost"
            else one
            for one in card.sections
        )
        config = samples.CONFIG.format(seed=0, lr=number / 1000, privacy="membership: {}")
        samples.write(folder / str(number), replace(card, sections=sections), config=config)
    path = finish(folder).page
    text = path.read_text()
    scores = json.loads(re.search(r'id="explored">(.*?)</script>', text, re.S).group(1))["scores"]
    up, across = 3, 0
    choose = f"""<script>addEventListener("load", () => {{
      const [up, across] = document.querySelectorAll("#explorer select");
      up.value = {up}; across.value = {across};
      across.dispatchEvent(new Event("change"));
    }});</script>"""
    copy = path.with_name("chosen.html")
    copy.write_text(text.replace("</body>", choose + "</body>"))
    dom = chromium(tmp_path / ".profile", "--dump-dom", copy.as_uri())
    strong, drawn = marked(dom)
    assert drawn == set(range(40))
    better = {1: Better.HIGHER, -1: Better.LOWER}
    x, y = scores[across], scores[up]
    points = list(zip(x["values"], y["values"], strict=True))
    assert strong == set(pareto.front(points, x=better[x["better"]], y=better[y["better"]]))
    # The list beside the picture has the same groups, up to twelve.
    assert dom.partition('class="onfront"')[2].partition("</ul>")[0].count("<li>") == min(12, len(strong))


def test_few_groups_keep_their_colours_and_lie_inside_of_the_picture(tmp_path):
    page = finish(samples.first_look(tmp_path / "sweep")).page
    dom = chromium(tmp_path / ".profile", "--dump-dom", page.as_uri())
    drawn = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*class="(\w+) s(\d)" data-at="(\d+)"', dom)
    assert {(colour, at) for _, _, _, colour, at in drawn} == {("0", "0"), ("1", "1")}
    assert {kind for _, _, kind, _, _ in drawn} <= {"mark", "hollow"}
    box = re.search(r'<line x1="64" x2="(\d+)"[^>]*class="frame"', dom)
    assert all(64 < float(x) < float(box[1]) for x, *_ in drawn)


def test_the_first_screen_tells_the_story(tmp_path):
    summary = finish(samples.first_look(tmp_path / "sweep"))
    assert 0 < probe(summary.page, width=1265)["bottom"] < 800


@pytest.mark.parametrize("width", [700, 1000, 1200])
def test_heads_of_columns_break_between_words_alone(tmp_path, width):
    levers = (
        "cost",
        "cost,lora",
        "cost,qlora",
        "cost,lora,precision",
        "cost,lora,precision,quantize",
        "cost,budget_of_time",
    )
    for place, chosen in enumerate(levers):
        samples.write(tmp_path / str(place), samples.scorecard(choices={"compute": chosen}))
    page = finish(tmp_path).page
    assert "compute=lora" in page.read_text()
    assert probe(page, width=width)["broken"] == []


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_it_prints(pages, tmp_path, name):
    target = tmp_path / "page.pdf"
    chromium(tmp_path / ".profile", f"--print-to-pdf={target}", pages[name].as_uri())
    data = target.read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 2
