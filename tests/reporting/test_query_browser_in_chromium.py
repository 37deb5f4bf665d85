"""The query browser in a real browser: opened, searched, used by keys, with texts that mean harm, on a screen and on a phone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from certain import certain
from devtools import Tab, tab
from html_page import HOSTILE
from report_data import library, report

from zelo.reporting.report import render
from zelo.reporting.report_data import ReportData

pytestmark = pytest.mark.long

OPEN = "document.getElementById('query-browser')?.hidden === false"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def shown(page: str, folder: Path, use: Callable[[Tab], Awaitable[None]], at: str = "", width: int = 1280) -> None:
    """Opens the page and uses it; nothing may complain."""

    async def main() -> None:
        async with tab(folder) as here:
            await here.screen(width)
            (folder / "page.html").write_text(page, encoding="utf-8")
            await here.ask("Page.navigate", url=(folder / "page.html").as_uri() + at)
            await here.until(OPEN)
            await use(here)
            assert not here.complaints

    asyncio.run(main())


def words(selector: str) -> str:
    """JavaScript: the text of one element."""
    return f"document.querySelector({selector!r})?.textContent"


@pytest.fixture(scope="module")
def data() -> ReportData:
    return report()


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return render(data)


def hostile() -> ReportData:
    """Texts, titles, ids, systems, judges and reasons that mean harm."""
    data = report(HOSTILE, {f"{n}{text[:300]}": (text, text) for n, text in enumerate(HOSTILE * 3)})
    browser = certain(data.browser)
    systems = [f"{text}{n}" for n, text in enumerate(HOSTILE[:10])]
    named = {"systems": systems, "judges": HOSTILE[:4], "splits": HOSTILE[1:2], "metrics": HOSTILE[:1]}
    return replace(data, browser=replace(browser, facts={**browser.facts, **named}))


def test_it_is_searched_and_walked_through_by_keys(data: ReportData, page: str, tmp_path: Path) -> None:
    wanted = max(certain(data.browser).columns["query"][3].as_py().lower().split(), key=len)

    async def use(here: Tab) -> None:
        await here.see("document.querySelector('#query-browser input').focus()")
        await here.press(*wanted, "ArrowDown")
        found = await here.see("[...document.querySelectorAll('.hit .words')].map((one) => one.textContent)")
        assert found
        assert all(wanted in one.lower() for one in found)
        assert await here.see("document.activeElement.className") == "hit"
        await here.press("Enter")
        await here.until("location.hash.startsWith('#query/')")
        assert await here.until(words(".query h3")) == found[0]
        lists = "[...document.querySelectorAll('.ranking h4')].map((one) => one.textContent)"
        assert [one.split()[:2] for one in await here.see(lists)] == [["before:", "fusion"], ["after:", "zelo"]]
        await here.see("document.querySelector('.ranking a.doc').focus()")
        await here.press("ArrowDown", "Enter")
        assert "Why is this document here?" in await here.until(words(".why h4"))
        assert await here.see("document.querySelectorAll('.bout').length") == 8
        votes = "[...document.querySelectorAll('.votes')].map((one) => one.textContent).join(' ')"
        assert "dense" in await here.see(votes)
        await here.see(
            "(() => { const judge = [...document.querySelectorAll('.controls select')].at(-1);"
            " judge.selectedIndex = 1; judge.dispatchEvent(new Event('change')); })()"
        )
        assert "lexical" in await here.see(votes)
        assert "dense" not in await here.see(votes)

    shown(page, tmp_path, use)


def test_an_address_names_a_query_and_a_document_and_judges_say_why(
    data: ReportData, page: str, tmp_path: Path
) -> None:
    columns = certain(data.browser).columns
    query, document = columns["query_id"][0].as_py(), columns["pool_doc"][columns["pair_a"][columns["reason_pair"][0]]]
    first = columns["doc_id"][int(document)].as_py()

    async def use(here: Tab) -> None:
        assert await here.see(words(".query .facts .id")) == query
        assert first in await here.see(words(".why h4"))
        await here.until("document.querySelector('.why').getBoundingClientRect().top < innerHeight")
        reasons = "[...document.querySelectorAll('.bout .reasons')].map((one) => one.textContent)"
        said = " ".join(await here.see(reasons))
        assert f"the document above shown as {'AB'[int(columns['reason_turned'][0])]}" in said
        assert "score" in said

    shown(page, tmp_path, use, f"#query/{query}/{first}")


def test_hostile_texts_stay_texts_and_no_other_script_runs(tmp_path: Path) -> None:
    foreign = "<script>document.title = 'run'</script><body onload=\"document.title = 'run'\">"
    page = render(hostile()).replace("</main>", f"{foreign}</main>")
    safe = "document.querySelectorAll('#queries :is(script, iframe, img, b, a[href^=javascript])').length"

    async def use(here: Tab) -> None:
        assert await here.see("document.title") != "run"
        assert [one for one in here.complaints if "Content Security Policy" in one], "the policy refused it"
        here.complaints.clear()
        count = await here.see("document.querySelectorAll('.hit').length")
        seen = ""
        for number in range(count):
            await here.see(f"document.querySelectorAll('.hit')[{number}].click()")
            await here.until(f"document.querySelectorAll('.hit')[{number}].hasAttribute('aria-current')")
            await here.see("document.querySelectorAll('.ranking a.doc')[3].click()")
            await here.until(words(".why"))
            assert await here.see(safe) == 0
            seen += await here.see("document.getElementById('queries').textContent")
        for text in HOSTILE[:4]:
            assert text in seen
        assert await here.see(WIDER) == 0

    shown(page, tmp_path, use)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_screen_and_a_phone(width: int, dark: bool, data: ReportData, page: str, tmp_path: Path) -> None:
    query, document = certain(data.browser).columns["query_id"][0].as_py(), next(iter(library()))

    async def use(here: Tab) -> None:
        await here.screen(width, dark)
        await here.until(words(".why"))
        await here.see("[...document.querySelectorAll('#queries button')].at(-1).click()")
        assert await here.see("document.querySelectorAll('.ranking a.doc').length") > 60
        assert await here.see(WIDER) == 0
        scheme = "getComputedStyle(document.body).backgroundColor"
        assert (sum(map(int, (await here.see(scheme))[4:-1].split(","))) < 200) == dark

    shown(page, tmp_path, use, f"#query/{query}/{document}", width)


def test_a_browser_that_cannot_open_it_says_so(page: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with tab(tmp_path) as here:
            await here.ask("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
            (tmp_path / "page.html").write_text(page, encoding="utf-8")
            await here.ask("Page.navigate", url=(tmp_path / "page.html").as_uri())
            state = words("#query-browser-state")
            assert await here.until(f"{state}?.includes('has no DecompressionStream')")
            assert not here.complaints

    asyncio.run(main())
