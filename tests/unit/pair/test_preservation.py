from __future__ import annotations

import re

import pytest

from lidr.components.pair.reward.preservation import (
    is_copy,
    keeps_code,
    keeps_links,
    keeps_names,
)

ENGLISH = "The committee will meet on the first floor, next to the large kitchen."
GERMAN = "Der Ausschuss trifft sich im ersten Stock, neben der großen Küche."


@pytest.mark.parametrize(
    ("source", "translation", "copied"),
    [
        (ENGLISH, ENGLISH, True),
        (ENGLISH, f"  {ENGLISH.upper()}\n", True),
        (ENGLISH, ENGLISH.replace("meet", "convene"), False),
        (ENGLISH * 4, (ENGLISH * 3) + ENGLISH.replace("first", "third"), True),
        (ENGLISH, GERMAN, False),
        (ENGLISH, "", False),
        (ENGLISH, ENGLISH[:30], False),
        ("委员会将在一楼的大厨房旁边开会。", "委员会将在一楼的大厨房旁边开会。", True),
        ("委员会将在一楼的大厨房旁边开会。", "委員会は一階の大きな台所の隣で開かれます。", False),
        ("", "", True),
    ],
)
def test_copy_is_the_same_text_but_for_a_few_words(source, translation, copied):
    assert is_copy(source, translation) == copied


CODE = (
    "Use this:\n```python\nfor n in range(9):\n    print(n * total)  # the product\n```\nThen go."
)


@pytest.mark.parametrize(
    ("translation", "kept"),
    [
        (CODE.replace("Use this", "Nimm das"), True),
        (CODE.replace("the product", "das Produkt"), True),
        (CODE.replace("for n in range(9):\n    print(n * total)", "für n in Bereich(9)"), False),
        (CODE.replace("```", ""), False),
        (CODE + CODE, False),
    ],
)
def test_code_may_have_its_comments_translated_and_nothing_else(translation, kept):
    assert keeps_code(CODE, translation) is kept


COMMENTED = {
    "python": """import numpy as np  # for the arrays
# Read the file and keep only the lines that have a number in them.
rows = [line for line in open("a#b.txt")]
# Sum them up, and round the result to two digits after the point.
print(round(sum(map(float, rows)), 2))
""",
    "javascript": """// Ask the server for the list of all customers, and wait for its answer.
const found = await fetch("https://example.com/a"); // may fail when the network is down
/* Print every name
   on a line of its own. */
found.forEach((each) => console.log(each.name));
""",
    "c": """#include <stdio.h>
// The program begins here, with nothing to read from its command line at all.
int main(void) { return printf("50%% // not a comment"); } // nothing else is left to do
""",
    "sql": """-- Count the customers of every town that has more than ten of them now.
SELECT town, count(*) FROM customers GROUP BY town HAVING count(*) > 10;
""",
    "html": """<!-- The heading of the page, which every visitor of the shop sees first. -->
<h1 style="color: #fff">Shop</h1>
<!-- The list follows below it, with one element for each thing that is sold. -->
""",
    "docstring": '''def area(width, height):
    """Return the area of a rectangle, in the square of the unit that both are given in."""
    return width * height
''',
}


def translated_comments(code: str) -> str:
    """Return code with another text in its comments."""
    comment = (
        r"(?<=# )[^\n]+|(?<!:)(?<=// )(?!not)[^\n]+|(?<=/\* ).*?(?= \*/)|(?<=<!-- ).*?(?= -->)"
    )
    comment += r'|(?<=-- )[^\n]+(?=\nSELECT)|(?<=""").*?(?=""")'
    return re.sub(comment, "它说明下面的代码", code, flags=re.DOTALL)


@pytest.mark.parametrize("language", COMMENTED)
def test_code_kept_to_the_letter_counts_as_kept_whatever_its_comments_say(language):
    code = COMMENTED[language]
    translated = translated_comments(code)
    assert translated != code
    assert keeps_code(f"```{language}\n{code}```", f"```{language}\n{translated}```") is True


@pytest.mark.parametrize("language", COMMENTED)
def test_code_that_is_gone_is_lost_whatever_its_comments_say(language):
    code = COMMENTED[language]
    comments = [line for line in code.split("\n") if line.startswith(("#", "//", "--", "<!--"))]
    assert keeps_code(f"```\n{code}```", "```\n" + "\n".join(comments) + "\n```") is False


def test_code_of_comments_alone_is_compared_as_it_is():
    first = "```bash\n# Install the packages first.\n```"
    assert keeps_code(first, first) is True
    assert keeps_code(first, "```bash\n# Ganz etwas anderes steht hier.\n```") is False


@pytest.mark.parametrize(
    "code",
    [
        "#include <stdio.h>",
        "#main { color: #fff; }",
        "curl https://example.com/a",
        "echo ${#list[@]}",
        "cp src/* build/; ls build/*/",
        "git log --oneline",
        "text = 'a # b'",
        'text = "a // b"',
        'query = """\n  -- all\n  SELECT 1"""',
    ],
)
def test_code_that_looks_like_a_comment_is_none(code):
    assert keeps_code(f"```\nx = 1\n{code}\n```", "```\nx = 1\n```") is False


def test_code_of_a_text_without_any_is_not_asked_for():
    assert keeps_code("No code, only `a name`.", CODE) is None


@pytest.mark.parametrize("kind", ["text", "txt", "markdown", "md"])
def test_a_fenced_block_of_prose_may_be_translated(kind):
    block = f"```{kind}\n{ENGLISH}\n```"
    assert keeps_code(block, f"```{kind}\n{GERMAN}\n```") is None
    assert keeps_code(f"{block}\n{CODE}", f"```{kind}\n{GERMAN}\n```\n{CODE}") is True
    within = f"```{kind}\n{ENGLISH}\n```python\nx = 1\n```\n```"
    assert keeps_code(within, within.replace("x = 1", "print(sorted(names))")) is False


def test_code_without_an_end_is_code():
    whole = "Use this:\n```python\nfor n in range(9):\n    print(n * total)"
    assert keeps_code(whole, whole) is True
    assert keeps_code(whole, "Nimm das:\n```python\nfür n in Bereich(9)") is False
    assert keeps_code(whole, "Nimm das.") is False


@pytest.mark.parametrize(
    ("source", "translation", "kept"),
    [
        ("See https://a.org/b?c=1.", "Siehe https://a.org/b?c=1", True),
        ("See (https://a.org/b), http://x.y", "http://x.y und https://a.org/b.", True),
        ("See https://a.org/b", "Siehe https://a.org/übersetzt", False),
        ("See **https://a.org/b**.", "Siehe https://a.org/b", True),
        ("See https://a.org/b", "请访问https://a.org/b了解详情。", True),
        ("See https://a.org/b", "请访问（https://a.org/b）了解详情。", True),
        ("See https://a.org/b", "「https://a.org/b」をご覧ください", True),
        ("See https://a.org/b.", "https://a.org/b。", True),
        ("See https://a.org/b.", "देखें https://a.org/b। फिर", True),
        ("See https://a.org/b, then", "انظر https://a.org/b، ثم", True),
        ("See https://a.org/b", "Siehe „https://a.org/b“", True),
        ("See https://a.org/b", "Voir «https://a.org/b»", True),
        ("请访问https://a.org/b了解", "See https://a.org/b for more.", True),
        ("请访问https://a.org/b了解", "See https://a.org/c for more.", False),
        ("See https://a.org", "Siehe dort", False),
        ("See there", "https://a.org", None),
    ],
)
def test_links_are_kept_to_the_letter(source, translation, kept):
    assert keeps_links(source, translation) is kept


@pytest.mark.parametrize(
    ("language", "source", "translation", "kept"),
    [
        ("en", "Then Marie met John in Berlin.", "Luego María vio a John en Berlín.", True),
        ("en", "Then Marie met John in Berlin.", "Luego ella vio a alguien.", False),
        ("en", "Then Marie met John in Berlin.", "Затем Мари встретила Джона.", None),
        ("en", "The house. A tree. What now?", "La casa.", None),
        ("de", "Dann traf Marie den Johann.", "Then she met him.", None),
        ("fr", "Hier, Élodie a vu Zoé.", "Yesterday, Elodie saw Zoe.", True),
        ("ru", "Потом Мария вышла.", "Then Maria left.", False),
        ("en", "1. **Eat a Balanced Diet**: Include it.\n2. **Move**: Walk.", "Coma sano.", None),
        ("en", "1) Drink water\n2) Sleep well", "Beba agua", None),
        ("en", "Do this: 1) Drink water 2) Sleep well", "Beba agua", None),
        ("en", "• Sleep well\n  • Eat well", "Duerma bien", None),
        ("en", "– Eat well\n– Sleep well", "Coma bien", None),
        ("en", "a) Eat well\n(b) Sleep well", "Coma bien", None),
        ("en", "✅ Eat well\n1. 💤 Sleep well", "Coma bien", None),
        ("en", "* Eat a Balanced Diet\n* Stay Active – Walk", "Coma sano", None),
        ("en", "# How to Keep Your Plants Alive\nWater them.", "Riéguelas.", None),
        ("en", "__Eat a Balanced Diet__\nIt helps.", "Coma sano.", None),
        ("en", " **Tip** Drink more.", "Beba.", None),
        ("en", "- **Diet**: ask Marie or John.\n- Call Zoe at home.", "Pida a María y Zoé", True),
        ("en", "- **Diet**: ask Marie or John.\n- Call Zoe at home.", "Pida ayuda", False),
        ("en", "A. Smith met Angela in Paris.", "Alguien estuvo allí.", False),
        ("en", "Then **Marie Curie** came.", "Luego vino alguien.", False),
    ],
)
def test_names_are_told_by_their_capitals_where_that_is_possible(
    language, source, translation, kept
):
    expected = None if language == "ru" else kept
    assert keeps_names(source, translation, language) is expected
