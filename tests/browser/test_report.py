"""The report in a real browser: layout, dark mode, silence, and hostile model text."""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from lidr.components.report.registered_model import render_model
from lidr.components.report.run import report
from lidr.components.report.runs import runs_of_model
from lidr.components.report.two_runs import render_two_runs
from lidr.components.shared.records.samples import PairSample
from lidr.components.shared.store.open import open_store
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


SCRIPTS = [
    (
        "ar",
        "كم عدد الأقلام؟",
        "لدى توم 9 أقلام. الجواب هو 13 (9 + 4).",
        "لدى توم 9 أقلام. الجواب هو 5 (9 - 4).",
    ),
    (
        "ja",
        "ペンは何本ですか。",
        "トムはペンを九本持っています。答えは十三本です。",
        "トムはペンを九本持っています。答えは五本です。",
    ),
    ("zh", "汤姆有几支笔?", "汤姆有九支笔。答案是十三。", "汤姆有九支笔。答案是五。"),
    (
        "th",
        "ทอมมีปากกากี่ด้าม",
        "ทอมมีปากกาเก้าด้าม คำตอบคือสิบสาม",
        "ทอมมีปากกาเก้าด้าม คำตอบคือห้า",
    ),
]


def candidates(count: int, long: int = 1) -> list[PairSample]:
    """Return candidates in many scripts, every third one dropped, texts as long as real answers."""
    return [
        PairSample(
            prompt_id=f"q{number}",
            language=code,
            other_language="en",
            kind="translation_chosen",
            sample=0,
            reason=("off_target", "length_ratio")[number % 2] if number % 3 == 0 else None,
            prompt=f"{prompt} {number}",
            chosen=" ".join([chosen] * long),
            rejected=" ".join([rejected] * long),
        )
        for number in range(count)
        for code, prompt, chosen, rejected in [SCRIPTS[number % len(SCRIPTS)]]
    ]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A run over languages of four scripts, with more pairs than a page has room for."""
    folder = tmp_path_factory.mktemp("scripts")
    store = write_run(folder, iterations=1, sample=candidates(4000, 20))
    others = [code for code, *_ in SCRIPTS] + ["es", "de", "fr"]
    settings = recipe(
        languages={"others": others},
        model={"source": "/models/chat"},
        prompts={"files": {code: f"{code}.jsonl" for code in ["en", *others]}},
    )
    report(recipe=settings.model_dump_json(), store=store, run=RUN)
    return folder / "runs" / RUN / "report.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of a model with two runs, and that of the two runs."""
    folder = tmp_path_factory.mktemp("two")
    store = open_store(write_run(folder))
    write_run(folder, run="second", worse=0.06, month=9)
    runs, unread = runs_of_model(store, "tiny-world")
    texts = {
        "model": render_model("tiny-world", runs, unread, {"tiny-world/3": ["champion"]}, ""),
        "two-runs": render_two_runs(*runs),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return [(folder / f"{name}.html").as_uri() for name in texts]


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
        assert len(shown) >= 18
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
    scripts = "document.querySelectorAll('script:not([type])').length"
    assert browser.evaluate(scripts) == 1
    everything(browser)
    shown = "document.querySelectorAll('#pairs-browser article.pair').length"
    assert browser.evaluate(shown) == len(PAYLOADS)
    text = browser.evaluate("document.querySelector('#pairs-browser .entries').textContent")
    for payload in PAYLOADS[:6]:
        assert payload in text
    assert "U+202Eright to left override U+2066isolate" in text
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    assert "lidr report" in browser.evaluate("document.title")
    assert browser.complaints() == []


def everything(browser):
    """Show all entries of the pair browser."""
    browser.evaluate(
        "(() => { const more = document.querySelector('#pairs-browser .more');"
        " while (!more.hidden) more.click(); })()"
    )


def choose(browser, section: str, name: str, value: str):
    browser.evaluate(
        f"(() => {{ const form = document.querySelector('{section} form');"
        f" const field = form.querySelector('[name={name}], [data-tag={name}]');"
        f" field.value = {value!r};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def said(browser, section: str) -> str:
    return browser.evaluate(f"document.querySelector('{section} output').textContent")


def badges(browser, section: str) -> list[str]:
    return browser.evaluate(
        f"[...document.querySelectorAll('{section} article h3')].map(head => head.textContent)"
    )


def test_texts_of_every_script_keep_their_direction_language_and_words(browser, scripts):
    browser.open(scripts.as_uri(), width=390)
    looks = browser.evaluate(
        "[...document.querySelectorAll('#pairs-browser article')].slice(0, 4).map(a => {"
        " const text = a.querySelector('.rejected .text');"
        " const mark = text.querySelector('mark');"
        " return [text.lang, getComputedStyle(text).direction, mark.textContent] })"
    )
    assert [look[:2] for look in looks] == [
        ["ar", "rtl"],
        ["ja", "ltr"],
        ["zh", "ltr"],
        ["th", "ltr"],
    ]
    assert [look[2] for look in looks] == ["5", "五", "五", "ห้า"], "single words are marked"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_of_many_pairs_is_small_and_answers_every_key(browser, scripts):
    size = scripts.stat().st_size
    assert 2_700_000 < size < 5_000_000
    began = time.monotonic()
    browser.open(scripts.as_uri())
    print(f"{time.monotonic() - began:.1f} s to load")
    total = int(said(browser, "#pairs-browser").split()[0])
    assert 500 < total < 4000
    spent = browser.evaluate(
        "(() => { const spent = {};"
        " const field = document.querySelector('#pairs-browser [name=text]');"
        " for (const text of ['ト', '', 'トム', '', 'ส', '', 'no such text', '']"
        ".flatMap(each => Array(6).fill(each))) {"
        " field.value = text; const began = performance.now();"
        " field.dispatchEvent(new Event('input', {bubbles: true}));"
        " field.getBoundingClientRect();"  # the layout counts, too
        " spent[text] = Math.min(spent[text] ?? 1e9, performance.now() - began); }"
        " return spent; })()"
    )
    print(f"milliseconds a keystroke, the best of several: {spent}")
    assert said(browser, "#pairs-browser") == f"{total} of {total} match"


def test_pairs_are_searched_filtered_and_sorted(browser, page):
    browser.open(page)
    section = "#pairs-browser"
    assert said(browser, section) == "24 of 24 match"
    choose(browser, section, "outcome", "off_target")
    assert said(browser, section) == "2 of 24 match"
    assert all("dropped: off target" in text for text in badges(browser, section))
    choose(browser, section, "outcome", "")
    choose(browser, section, "learnt", "chosen")
    kept = badges(browser, section)
    assert kept and all("reward margin +" in text for text in kept)
    choose(browser, section, "learnt", "")
    choose(browser, section, "order", "-1")
    margins = [text.rpartition("margin ")[2] for text in badges(browser, section)[:4]]
    assert margins == ["+1.75", "+1.75", "+0.75", "+0.75"]
    choose(browser, section, "text", "LÁPICES")
    choose(browser, section, "language", "es")
    choose(browser, section, "model", "M₁")
    assert said(browser, section) == "3 of 24 match"
    choose(browser, section, "language", "fr")
    assert said(browser, section) == "0 of 24 match"


def test_flipped_items_are_searched_and_filtered(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    section = "#flips-1"
    assert said(browser, section) == "440 of 440 match"
    choose(browser, section, "language", "fr")
    assert said(browser, section) == "145 of 440 match"
    assert all("French" in text for text in badges(browser, section))
    choose(browser, section, "text", "STYLOS")
    assert said(browser, section) == "145 of 440 match"
    choose(browser, section, "change", "lost")
    assert said(browser, section) == "0 of 440 match"


def press(browser, key: str):
    for kind in ("rawKeyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key]
        )


KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(browser, scripts):
    browser.open(scripts.as_uri())
    where = (
        "(() => { const a = document.activeElement, s = a.closest('section');"
        " const name = a.getAttribute('aria-label') || a.textContent.slice(0, 30);"
        " return [a.tagName, s ? s.id : '', name, getComputedStyle(a).outlineStyle]; })()"
    )
    seen = []
    for _ in range(90):
        press(browser, "Tab")
        seen.append(browser.evaluate(where))
        if seen[-1][1] == "models":
            break
    assert seen[0][2] == "Skip to the content"
    assert all(look[3] != "none" for look in seen if look[0] != "BODY")
    inside = [look for look in seen if look[1] == "pairs-browser"]
    fields = [look[0] for look in inside if look[0] in ("INPUT", "SELECT")]
    assert fields == ["INPUT", "SELECT", "SELECT"]
    assert [look[2] for look in inside if look[0] == "DIV"][1:3] == ["Chosen", "Rejected"]
    assert inside[-1][0] == "BUTTON"
    places = [look[1] for look in seen if look[1]]
    order = list(dict.fromkeys(places))
    assert places == sorted(places, key=order.index), "no section is entered twice"
    count = "document.querySelectorAll('#pairs-browser article').length"
    browser.evaluate("document.querySelector('#pairs-browser .more').focus()")
    press(browser, " ")
    assert browser.evaluate(count) == 10
    focused = (
        "[...document.querySelectorAll('#pairs-browser article')].indexOf(document.activeElement)"
    )
    assert browser.evaluate(focused) == 5, "the first of the new ones"


def test_names_and_roles_are_there_for_a_screen_reader(browser, page):
    browser.open(page)
    opened(browser)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {  # some versions keep the space between a label's words and its field
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node["ignored"]
    }
    assert {("combobox", "Language"), ("combobox", "Outcome"), ("searchbox", "Search")} <= named
    assert ("table", "Lead of English, in points") in named
    assert ("search", "Pair browser") in named
    interactive = ("button", "combobox", "searchbox", "link", "region", "img", "image")
    assert not [role for role, name in named if role in interactive and not name.strip()]
    headings = browser.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])"
    )
    assert all(after <= before + 1 for before, after in pairwise(headings))


def test_the_map_and_the_badges_have_contrast(browser, page):
    for dark in (False, True):
        browser.open(page, dark=dark)
        browser.evaluate(
            "document.querySelector('.heat tbody').innerHTML = '<tr><th></th>' +"
            " ['behind1', 'behind2', 'behind3', 'behind4', 'behind5', 'even', 'ahead1', 'ahead2']"
            ".map(k => `<td class=${k}>1</td>`).join('') + '</tr>'"
        )
        looks = browser.evaluate(
            "[...document.querySelectorAll('.heat td, .badge, mark')].map(node => {"
            " const look = getComputedStyle(node);"
            " return [node.className, look.backgroundColor, look.color]; })"
        )
        assert len(looks) > 20
        for kind, ground, ink in looks:
            assert contrast(ground, ink) >= 4.5, (kind, dark)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_pages_of_several_runs_fit_their_window_and_are_silent(browser, pages, width, dark):
    for url in pages:
        browser.open(url, width=width, dark=dark)
        opened(browser)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.complaints() == []
        assert browser.requests() == [url]
        assert browser.evaluate("document.querySelectorAll('article.pair').length") >= 5


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
