"""The report in a real browser: layout, dark mode, silence, and hostile model text."""

from pathlib import Path

import pytest

from components.report.run import report
from tests.unit.report.runs import RUN, recipe, write_run

PAYLOADS = [
    "<script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title = 'broken'\">",
    "</textarea></div></article><svg onload=\"document.title = 'broken'\">",
    "<a href=\"javascript:document.title = 'broken'\">javascript:alert(1)</a>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<link rel=stylesheet href=https://example.org/x.css><style>*{display:none}</style>",
    "\u202eright to left override \u2066isolate\u0000 nul \x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 5000,
    "ما هو عدد التفاحات؟ الجواب هو 7.",
    "&lt;b&gt; &amp; \"quotes\" 'apostrophes' `ticks`",
    "\ufeff\ufffe\uffff 👩‍👩‍👧‍👦 ﷽ Z̷̢̛a̴l̵g̸o̶",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return written(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    samples = [
        {
            "language": ("es", "de", "fr")[index % 3],
            "kind": "translation_chosen",
            "prompt": payload,
            "chosen": payload,
            "rejected": f"{payload} and more",
        }
        for index, payload in enumerate(PAYLOADS)
    ]
    return written(tmp_path_factory.mktemp("hostile"), iterations=1, samples=samples)


def written(folder: Path, **options: object) -> str:
    store = write_run(folder, **options)
    report(recipe=recipe().model_dump_json(), store=store, run=RUN)
    return (folder / "runs" / RUN / "report.html").as_uri()


def opened(browser):
    browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window_and_nothing_complains(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    opened(browser)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []


def test_the_page_asks_for_nothing_but_itself(browser, page):
    browser.open(page)
    assert browser.requests() == [page]


def test_the_policy_keeps_its_style_and_refuses_scripts(browser, page):
    browser.open(page)
    assert browser.evaluate("getComputedStyle(document.querySelector('h1')).fontWeight") == "650"
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'document.title = 1'}))"
    )
    browser.evaluate("fetch('https://example.org/').catch(() => 0) && 0")
    assert "lidr report" in browser.evaluate("document.title")
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())


def test_every_chart_is_drawn_and_its_text_stays_inside(browser, page):
    for width in (360, 1280):
        browser.open(page, width=width)
        shown = browser.evaluate(
            "[...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width)"
            ".map(s => [s.getBoundingClientRect().width, s.getBoundingClientRect().height])"
        )
        assert len(shown) >= 15
        assert all(across > 250 and down > 60 for across, down in shown)
        outside = browser.evaluate(
            "[...document.querySelectorAll('svg text')].filter(t => {"
            " const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect();"
            " return a.width && (a.left < b.left - 2 || a.right > b.right + 2); })"
            ".map(t => t.textContent)"
        )
        assert outside == []


def test_text_in_charts_stays_readable_on_a_phone(browser, page):
    browser.open(page, width=360)
    smallest = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')]"
        ".filter(t => t.getBoundingClientRect().height)"
        ".map(t => parseFloat(getComputedStyle(t).fontSize)"
        " * t.ownerSVGElement.getScreenCTM().a))"
    )
    assert smallest >= 9.5


def test_the_first_screen_of_a_phone_says_what_came_out(browser, page):
    browser.open(page, width=360, height=740)
    bottom = browser.evaluate("document.querySelector('.figures').getBoundingClientRect().bottom")
    assert bottom <= 740
    heading = browser.evaluate("document.querySelector('h1').textContent").replace("\xa0", " ")
    assert heading == (
        "Average of Spanish, German and French: 46.1% → 99.2% (+53.1 points), English 100% → 99.3%."
    )


def test_dark_mode_has_its_own_colours_and_both_have_contrast(browser, page):
    looks = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        looks.append(
            browser.evaluate(
                "['body', 'h1', '.lede', 'svg .c1', '.legend'].map(name => {"
                " const look = getComputedStyle(document.querySelector(name));"
                " return name === 'body' ? look.backgroundColor : look.color; })"
            )
        )
    light, night = looks
    assert all(day != other for day, other in zip(light, night, strict=True))
    for page_colour, *inks in looks:
        assert all(contrast(page_colour, ink) >= 4.5 for ink in inks)


def test_hostile_model_text_runs_nothing_and_is_shown_as_text(browser, hostile):
    browser.open(hostile, width=360)
    opened(browser)
    assert "lidr report" in browser.evaluate("document.title")
    assert browser.complaints() == []
    assert browser.requests() == [hostile]
    assert browser.evaluate("document.querySelectorAll('img, textarea, iframe').length") == 0
    assert browser.evaluate("document.querySelectorAll('script').length") == 1
    shown = "document.querySelectorAll('#samples article.pair').length"
    assert browser.evaluate(shown) == len(PAYLOADS)
    text = browser.evaluate("document.querySelector('#samples').textContent")
    for payload in PAYLOADS[:6]:
        assert payload in text
    assert "U+202Eright to left override U+2066isolate" in text
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360


def test_right_to_left_text_runs_from_the_right(browser, hostile):
    browser.open(hostile)
    directions = browser.evaluate(
        "[...document.querySelectorAll('#samples .prompt')]"
        ".filter(p => p.textContent.includes('الجواب'))"
        ".map(p => getComputedStyle(p).direction)"
    )
    assert directions == ["rtl"]


def test_flipped_items_are_searched_and_filtered(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    shown = (
        "[...document.querySelectorAll('#flips-1 article')].filter(a => a.offsetHeight)"
        ".map(a => a.dataset.language + ' ' + a.dataset.kind)"
    )
    everything = browser.evaluate(shown)
    assert len(everything) == 120
    assert set(everything) == {"es gained", "de gained", "fr gained"}
    choose = (
        "(name, value) => { const form = document.querySelector('#flips-1 form');"
        " form[name].value = value; form.dispatchEvent(new Event('input')); }"
    )
    browser.evaluate(f"({choose})('language', 'fr') ?? 0")
    assert set(browser.evaluate(shown)) == {"fr gained"}
    browser.evaluate(f"({choose})('text', 'STYLOS') ?? 0")
    assert len(browser.evaluate(shown)) == 40
    browser.evaluate(f"({choose})('text', 'no such word') ?? 0")
    assert browser.evaluate(shown) == []
    said = browser.evaluate("document.querySelector('#flips-1 output').textContent")
    assert said == "0 of 120 shown"


def test_a_run_that_stopped_at_the_start_renders(browser, tmp_path):
    url = written(tmp_path, iterations=0)
    browser.open(url, width=360)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    assert browser.complaints() == []


def contrast(first: str, second: str) -> float:
    """Return the WCAG contrast ratio of two colours given as `rgb(r, g, b)`."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
