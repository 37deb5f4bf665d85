"""The report: complete, honest about what is missing, deterministic, self-contained, and safe with any text."""

import base64
import hashlib
import itertools
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from certain import certain
from html_page import HOSTILE, Page
from report_data import SYSTEMS, report

from zelo.reporting import plots, sweep_page
from zelo.reporting.gains import pick
from zelo.reporting.report import SCRIPT, render
from zelo.reporting.report_data import ReportData


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report()


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render(data)


def hostile() -> ReportData:
    """Every text of the report, and every name, comes from somebody who means harm."""
    documents = {
        f"{number}{text[:300]}": (text, HOSTILE[-number % len(HOSTILE)]) for number, text in enumerate(HOSTILE * 3)
    }
    data = report(HOSTILE, documents)
    evil, student = HOSTILE[1], "zelo-<b onclick='x()'>"
    assert data.per_query is not None
    systems = pa.array([student if name == "zelo" else name for name in data.per_query["system"].to_pylist()])
    shown = certain(data.browser)
    named = {"systems": [f"{n}{text}" for n, text in enumerate(HOSTILE[:10])], "judges": HOSTILE[:4], "splits": [evil]}
    assert data.ratings is not None
    ratings = replace(
        data.ratings,
        matrices=[
            replace(one, query_id=evil, query=text) for one, text in zip(data.ratings.matrices, HOSTILE, strict=False)
        ],
        fit={**data.ratings.fit, "disconnected": HOSTILE[:5]},
        curl=[(text, text, 0.05) for text in HOSTILE],
    )
    return replace(
        data,
        browser=replace(shown, facts={**shown.facts, **named}),
        header=[(text, text) for text in HOSTILE],
        ratings=ratings,
        per_query=data.per_query.set_column(0, "system", systems),
        title=HOSTILE[2],
        verdicts=[
            one | {"text": text, "system": student if one["system"] == "zelo" else one["system"]}
            for one, text in zip(data.verdicts, HOSTILE, strict=False)
        ],
        metrics=[row | {"domain": evil, "first_stage": HOSTILE[0], "protocol": HOSTILE[3]} for row in data.metrics],
        curves=dict.fromkeys(HOSTILE, data.curves["embedding"]),
        stages=[stage | {"name": evil, "identity": evil} for stage in data.stages],
        config="\n".join(HOSTILE),
        notes=HOSTILE,
    )


@pytest.fixture(scope="module")
def evil() -> str:
    return render(hostile())


def test_scores_as_probabilities_say_what_cannot_be_reached_and_where_a_threshold_fails(html: str):
    part = html[html.index('<section id="probabilities">') :]
    part = part[: part.index("</section>")]
    assert "cannot be reached on dev" in part
    assert part.count("<tr><td><bdi>") == 2 + 6, "two systems, and three thresholds in two domains"
    assert 'aria-label="Share of relevant documents by probability"' in part


def test_says_everything(html: str, data: ReportData) -> None:
    words = Page(html).words
    for one in data.verdicts:
        sentence = one["text"].removeprefix(one["system"]).partition(" (")[0].strip(" :")
        assert sentence in words
        assert f'title="{one["text"].replace(">", "&gt;")}"' in html
    for system in SYSTEMS:
        assert system in words
    assert {"Verdict", "Leaderboard", "First stages", "Untuned models", "Teacher", "Students"} <= set(
        re.findall(r"[\w ]+", words)
    )
    assert "Why is this document here?" in words
    assert re.search(r"command\s*zelo name=x\s.*models\s*multirun/x/embedding", words, re.S)
    assert "3 judged documents are not in this installation" in words
    assert "zelo.datasets.pydocs.Pydocs" in words
    assert re.search(r"\d+ won.*\d+ lost.*\d+ equal", words)


def test_links_lead_somewhere_and_ids_are_unique(html: str, data: ReportData) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for tag, a in page.elements if tag in ("a", "use") and "href" in a}
    targets |= set(re.findall(r"url\((#[^)]+)\)", html))
    queries = {str(target).removeprefix("#query/") for target in targets if str(target).startswith("#query/")}
    assert queries
    assert queries <= certain(data.browser).listed, "the script opens these"
    targets -= {f"#query/{query}" for query in queries}
    assert len(targets) > 8
    assert {str(target) for target in targets} <= {f"#{identity}" for identity in ids}


@pytest.mark.parametrize("name", ["html", "evil"])
def test_fetches_nothing_and_runs_its_own_script_only(name: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(name)
    page = Page(html)
    assert not page.tags & {"iframe", "img", "object", "embed", "base", "form", "foreignobject"}
    for tag, attributes in page.elements:
        assert not [
            key
            for key in attributes
            if key.startswith("on") or key in ("src", "srcdoc", "srcset", "action", "xlink:href")
        ]
        if "href" in attributes:
            assert attributes["href"] == "data:," if tag == "link" else str(attributes["href"]).startswith("#")
        assert not re.search(r"url\((?!#)|@import", attributes.get("style") or "")
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    kinds = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert kinds == ["application/octet-stream", None], "one block of data and one script"
    block, script = page.scripts
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", block)
    assert script == SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def test_hostile_texts_stay_texts(evil: str, html: str) -> None:
    page = Page(evil)
    assert page.tags <= Page(html).tags
    assert not page.comments
    assert set().union(*(a.keys() for _, a in page.elements)) <= set().union(
        *(a.keys() for _, a in Page(html).elements)
    )
    for text in HOSTILE:
        seen = (
            re.sub(r"[\x00-\x08\x0b-\x1f]", "\ufffd", " ".join(text.split())) if "\x00" not in text else "emoji 👩‍🔬🏳️‍🌈"
        )
        assert seen[:200] in page.words
    assert "a" * 10_000 in page.words  # the config is whole
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", evil)
    evil.encode("utf-8")
    tooltips = re.findall(r"<title>([^<]*)</title>", evil)
    assert any("$x^2 and $\\frac{1" in tooltip for tooltip in tooltips)
    assert len(evil) < 3_000_000


def test_lone_surrogates_do_not_stop_it(data: ReportData) -> None:
    bad = replace(data, notes=["half \ud83d a smile"], query_texts=dict.fromkeys(data.query_texts, "\udc00 \ufffe"))
    assert "half \ufffd a smile" in render(bad).encode("utf-8").decode()


def test_is_deterministic_small_and_quick(data: ReportData, html: str) -> None:
    start = time.process_time()
    again = render(data)
    assert time.process_time() - start < 5
    assert again == html
    assert data.per_query is not None
    backwards = data.per_query.take(list(range(len(data.per_query)))[::-1])
    assert render(replace(data, per_query=backwards)) == html
    assert len(html.encode()) < 3_000_000
    assert not re.search(r"20\d\d-\d\d-\d\d", html)


def test_sections_without_content_are_left_out(data: ReportData) -> None:
    empty = ReportData("Nothing", [], [], None, {}, [], "", [])
    page = Page(render(empty))
    assert {attrs.get("id") for name, attrs in page.elements if name == "section"} == {"cost", "config"}
    rated = Page(render(replace(data, verdicts=[], metrics=[], per_query=None, curves={}, probabilities={})))
    sections = [attrs.get("id") for name, attrs in rated.elements if name == "section"]
    assert sections[:3] == ["notes", "queries", "ratings"]
    linked = {str(attrs["href"])[1:] for name, attrs in rated.elements if name == "a" and attrs["href"] in sections}
    assert linked <= set(sections)


def test_missing_figures_are_dashes(data: ReportData) -> None:
    one_verdict = data.verdicts[0] | dict.fromkeys(("ci_low", "ci_high", "p_value"))
    unlabelled = [
        row | dict.fromkeys(("ci_low", "ci_high", "p_value", "baseline", "domain")) for row in data.metrics[:1]
    ]
    one = {"embedding": [{"step": 0, "epoch": 0, "train_loss": None, "dev": 0.7, "metric": "nDCG@10"}], "reranker": []}
    stage = dict.fromkeys(data.stages[0]) | {"name": "rate", "status": "computed", "identity": ""}
    partial = replace(
        data, verdicts=[one_verdict], metrics=unlabelled, per_query=None, curves=one, stages=[stage], browser=None
    )
    words = Page(render(partial)).words
    assert "nan" not in words
    assert "None" not in words
    assert "No point was measured" in words


def test_picks_gains_losses_and_some_between(data: ReportData) -> None:
    first = data.verdicts[0]
    sides = ((first["system"], range(9)), (first["baseline"], [4] * 9))
    rows = [(system, "nDCG@10", "test", f"q{i}", v / 10) for system, side in sides for i, v in enumerate(side)]
    names = ["system", "metric", "split", "query_id", "value"]
    per_query = pa.table([list(column) for column in zip(*rows, strict=True)], names=names)
    assert pick(per_query, [first], [], 6) == ["q8", "q7", "q6", "q2", "q1", "q0"]
    few = per_query.filter(pa.array([row[3] < "q3" for row in rows]))
    assert pick(few, [first], [], 6) == ["q2", "q1", "q0"]
    assert pick(None, [first], ["a", "b", "c"], 2) == ["a", "b"]
    assert pick(per_query, [], ["a"], 6) == ["a"]


def test_many_queries_make_one_outline_and_odd_points_are_left_out() -> None:
    difference = np.linspace(0.5, -0.4, 5000)
    drawn = plots.gains(difference, [""] * 5000, 0.6, "gain")
    assert "<title>" not in drawn
    assert len(drawn) < 100_000
    points = [
        {"step": 0, "train_loss": None, "dev": float("nan"), "metric": "nDCG@10"},
        {"step": 9, "train_loss": 0.5, "dev": 0.7, "metric": "nDCG@10"},
    ]
    assert "0.700" in plots.curves(points, "curve")
    assert plots.curves(points[:1], "curve") == ""


def test_colours_are_readable(html: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", html, re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for text, ground in itertools.product(("ink", "muted", "gain", "loss", "accent"), ("paper", "panel")):
            light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
    assert not re.search(r"#0102\d\d", html)  # no sentinel is left
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", html)) == set()  # figures have no colour of their own


def browse(html: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What a browser 1180 pixels wide makes of a page: the document on stdout, complaints on stderr."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    (folder / "page.html").write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --v=0 --dump-dom"
    flags += " --window-size=1180,900"
    flags += " --virtual-time-budget=20000"  # the queries are opened after the page is there
    command = [browser, *flags.split(), f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.long
def test_the_leaderboard_fits_a_window_of_1180_pixels(html: str, tmp_path: Path) -> None:
    measure = "for (const part of document.querySelectorAll('.scroll')) part.id = `beyond-${part.scrollWidth - part.clientWidth}`"
    page = re.sub("<meta http-equiv=.*?>", "", html).replace("</body>", f"<script>{measure}</script></body>")
    assert re.findall(r'aria-label="Leaderboard[^>]*id="beyond-(\d+)"', browse(page, tmp_path).stdout)[0] == "0"


@pytest.mark.long
def test_a_browser_shows_it(tmp_path: Path) -> None:
    seen: list[set[str]] = []
    for data in (report(), hostile()):
        done = browse(render(data), tmp_path)
        words = " ".join(Page(done.stdout).words.split())
        assert data.verdicts[0]["text"].removeprefix(data.verdicts[0]["system"]).partition(" (")[0].strip(" :") in words
        assert "CONSOLE" not in done.stderr, done.stderr
        seen.append(Page(done.stdout).tags)
    assert seen[1] <= seen[0]


def beyond(page: str, width: int, folder: Path) -> int:
    """Pixels by which a page is wider than a window of this width. A frame has any width; a browser's window has not."""
    page = re.sub("<meta http-equiv=.*?>", "", page)
    root = "frame.contentDocument.documentElement"
    measure = f"document.title = {root}.scrollWidth - {root}.clientWidth"
    style = f"width:{width}px;height:900px;border:0"
    frame = f'<iframe id="frame" style="{style}" srcdoc="{escape(page)}" onload="{measure}"></iframe>'
    return int(re.findall(r"<title>(-?\d+)</title>", browse(f"<title></title>{frame}", folder).stdout)[0])


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_a_screen_and_a_phone(width: int, html: str, data: ReportData, tmp_path: Path) -> None:
    early = replace(data, verdicts=[], metrics=[], per_query=None, curves={})  # until=rate
    columns = (
        "job",
        "solver",
        "graph.degree",
        "status",
        "system",
        "selected_by",
        "value",
        "test",
        "test_value",
        "seconds",
    )
    row = dict.fromkeys((*columns, "error", "folder"), "0.5") | {"status": "finished", "solver": "thurstone" * 9}
    failed = row | {"status": "failed", "error": "graph.degree=5 must be even. " * 9, "job": "1", "graph.degree": "7"}
    for page in (html, render(early), sweep_page.page(tmp_path, [row | {"job": "0"}, failed])):
        assert beyond(page, width, tmp_path) == 0
    assert beyond(f'<div style="width:{width + 50}px">x</div>', width, tmp_path) > 0, "the measure can fail"


def test_disagreements_name_the_stage_whose_judges_differ(data: ReportData) -> None:
    judges = [row | {"stage": "judge_gold"} for row in data.judges]
    page = render(replace(data, disagreements=[], judged_by="judge_gold", judges=judges))
    assert "These judges are those of the stage judge_gold." in " ".join(Page(page).words.split())
    assert "stage judge_gold" not in render(replace(data, disagreements=[]))
