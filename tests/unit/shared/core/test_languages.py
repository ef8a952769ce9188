from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.core import languages, two_scripts
from lidr.components.shared.core.languages import NAMES, UNDETERMINED, LanguageIdentifier

SENTENCES = {
    "en": "Nina has four books and finds two more in the kitchen.",
    "es": "Nina tiene cuatro libros y encuentra dos más en la cocina.",
    "de": "Nina hat vier Bücher und findet zwei weitere in der Küche.",
    "fr": "Nina a quatre livres et en trouve deux autres dans la cuisine.",
    "ru": "У Нины четыре книги, и она находит ещё две на кухне.",
}


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier(list(SENTENCES))


def test_sentences_are_identified_in_order(identifier):
    codes = list(SENTENCES)
    turned = list(reversed(codes))
    assert identifier.identify([SENTENCES[code] for code in codes]) == codes
    assert identifier.identify([SENTENCES[code] for code in turned]) == turned


RELATED = {
    "bg": "Нина има четири книги и намира още две в кухнята.",
    "fa": "نینا چهار کتاب دارد و دو کتاب دیگر در آشپزخانه پیدا می‌کند.",
    "mr": "नीनाकडे चार पुस्तके आहेत आणि तिला स्वयंपाकघरात आणखी दोन सापडतात.",
    "uk": "У Ніни є чотири книги, і вона знаходить ще дві на кухні.",
}
FOREIGN = {
    "ar": "لدى نينا أربعة كتب وتجد كتابين آخرين في المطبخ.",
    "hi": "नीना के पास चार किताबें हैं और रसोई में दो और मिलती हैं।",
    "ja": "ニーナは本を四冊持っていて、台所でさらに二冊見つけます。",
    "ko": "니나는 책 네 권을 가지고 있고 부엌에서 두 권을 더 찾습니다.",
    "th": "นีน่ามีหนังสือสี่เล่มและพบอีกสองเล่มในครัว",
    "zh": "尼娜有四本书，又在厨房里找到了两本。",
}


@pytest.mark.parametrize("text", ["", " \n ", "4 + 2 = 6", "!!! ...", "👋", "\0"])
def test_text_without_words_is_undetermined(identifier, text):
    assert identifier.identify([text]) == [UNDETERMINED]


@pytest.mark.parametrize("text", ["\ud800" + SENTENCES["es"], SENTENCES["es"] * 2000])
def test_broken_and_endless_text_is_no_problem(identifier, text):
    assert identifier.identify([text]) == ["es"]


@pytest.mark.parametrize("codes", [("en", "es"), ("de", "fr", "ru"), ("az", "sr", "hr", "kk")])
def test_latin_texts_are_identified_as_among_the_languages_of_all_scripts(codes):
    """Pieces of sentences, of names, formulas and symbols, in random order."""
    identifier, rng = LanguageIdentifier(codes), random.Random(0)
    pieces = [*"·—“”€→😀.,!?1٠π", "Łódź", "São", "naïve", "x²", "ế", "don’t"]
    for text in SENTENCES.values():
        pieces += text.split()
    texts = [" ".join(rng.choices(pieces, k=rng.randrange(1, 20))) for _ in range(500)]
    texts += ["".join(rng.sample(text, len(text))) for text in texts]
    latin = [text for text in texts if not languages._BEYOND_LATIN.search(text)]
    assert 100 < len(latin) < len(texts)
    found = identifier._detector.detect_languages_in_parallel_of(latin)
    assert identifier._latin_detector.detect_languages_in_parallel_of(latin) == found


def test_no_texts_have_no_languages(identifier):
    assert identifier.identify([]) == []


def test_english_is_always_among_the_languages():
    assert LanguageIdentifier(["es", "de"]).identify([SENTENCES["en"]]) == ["en"]


@pytest.mark.parametrize("code", FOREIGN)
def test_another_script_is_recognized_though_no_language_of_the_recipe_uses_it(identifier, code):
    assert identifier.identify([FOREIGN[code]]) == [code]


@pytest.mark.parametrize("wanted", ["ar", "fa", "hi", "mr", "ja", "ko", "ru", "uk", "bg", "zh"])
def test_a_script_of_the_recipe_belongs_to_its_languages(wanted):
    own = LanguageIdentifier(["en", wanted])
    sentence = {**SENTENCES, **FOREIGN, **RELATED}[wanted]
    assert own.identify([sentence, SENTENCES["en"]]) == [wanted, "en"]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("uk", "Добра тема"),
        ("ja", "東京"),
        ("ja", "東京、大阪、名古屋、札幌、福岡"),
        ("fa", "سلام"),
    ],
)
def test_a_short_text_belongs_to_the_language_of_the_recipe_that_uses_the_script(wanted, text):
    assert LanguageIdentifier(["en", wanted]).identify([text]) == [wanted]


LONG = {
    "be": "У Ніны ёсць чатыры кнігі, і яна знаходзіць яшчэ дзве на кухні. Цяпер у яе шэсць кніг.",
    "bg": "Нина има четири книги и намира още две в кухнята. Значи сега тя има шест книги.",
    "fa": "نینا چهار کتاب دارد و دو کتاب دیگر در آشپزخانه پیدا می‌کند. پس اکنون شش کتاب دارد.",
    "ja": "ニーナは本を四冊持っていて、台所でさらに二冊見つけます。だから今は全部で六冊です。",
    "kk": "Нинада төрт кітап бар және ол ас үйде тағы екеуін табады. Қазір онда алты кітап бар.",
    "mk": "Нина има четири книги и наоѓа уште две во кујната. Значи, сега таа има шест книги.",
    "mn": "Нинад дөрвөн ном бий бөгөөд гал тогооноос дахин хоёр ном олжээ. Одоо зургаан номтой.",
    "sr": "Нина има четири књиге и налази још две у кухињи. Дакле, сада има шест књига.",
    "uk": "У Ніни є чотири книги, і вона знаходить ще дві на кухні. Отже, тепер у неї шість книг.",
    "ur": "نینا کے پاس چار کتابیں ہیں اور اسے باورچی خانے میں دو اور ملتی ہیں۔ اب چھ کتابیں ہیں۔",
}
FALLBACKS = {
    "ar": "لدى نينا أربعة كتب وتجد كتابين آخرين في المطبخ. إذن لديها الآن ستة كتب.",
    "ru": "У Нины четыре книги, и она находит ещё две на кухне. Значит, теперь у неё шесть книг.",
    "zh": "尼娜有四本书，又在厨房里找到了两本。"
    "四加二等于六，所以她现在一共有六本书。这就是正确的答案。",
}


@pytest.mark.parametrize("wanted", LONG)
def test_a_fallback_in_the_script_of_the_recipe_is_recognized_in_a_long_text(wanted):
    texts = [LONG[wanted], *FALLBACKS.values(), SENTENCES["en"]]
    assert LanguageIdentifier(["en", wanted]).identify(texts) == [wanted, *FALLBACKS, "en"]


@pytest.mark.parametrize(
    "text",
    [
        "Le mot chinois pour « bonjour » est 你好, et pour « merci » 谢谢.",
        "En russe, on dit : « Я люблю тебя ».",
        "L'aire vaut π r², et α = β + γ pour tout triangle.",
    ],
)
def test_a_quotation_in_another_script_does_not_change_the_language(identifier, text):
    assert identifier.identify([text]) == ["fr"]


CODE = "```python\n" + "for index, row in books.iterrows():\n    print(row['title'])\n" * 20


@pytest.mark.parametrize("end", ["```", "```\n", ""])
def test_code_does_not_make_an_answer_english(identifier, end):
    assert identifier.identify([f"Voici la boucle :\n\n{CODE}{end}"]) == ["fr"]
    assert identifier.identify([f"{CODE}{end}"]) == [UNDETERMINED]


def test_text_between_two_pieces_of_code_counts(identifier):
    text = f"```sh\nhead -n 10 file\n```\n{SENTENCES['de']}\n```sh\ntail file\n```"
    assert identifier.identify([text]) == ["de"]


@pytest.mark.parametrize("kind", ["text", "txt", "plaintext", "markdown", "md", "Markdown"])
def test_prose_in_a_fenced_block_and_what_follows_it_count(kind):
    own, spanish = LanguageIdentifier(["en", "es"]), SENTENCES["es"]
    block = f"```{kind}\n{SENTENCES['en']}\n```"
    assert own.identify(
        [
            f"{block}\n{spanish} {spanish}",
            f"```{kind}\nuno dos\n```\n{spanish}\n{CODE}```\n{spanish}",
            f"```{kind}\n{spanish}\n{CODE}```\nFin.\n```\n{spanish}",
            f"```{kind}\n```{kind}\nuno\n```\n{CODE}```\n{spanish}\n```\n{CODE}```",
            f"```{kind}\n{spanish}",
            f"````{kind}\n{spanish}\n{CODE}```\n````\n{spanish}\n{CODE}```",
            f"```{kind}\n4 + 2 = 6\n```",
        ]
    ) == ["es", "es", "es", "es", "es", "es", UNDETERMINED]


def test_a_kind_that_begins_as_prose_does_is_code(identifier):
    assert identifier.identify([f"```textile\n{SENTENCES['de']}\n```"]) == [UNDETERMINED]


@pytest.mark.parametrize("piece", ["`", "```text\n", "```text```", "``` ", "```x"])
def test_a_megabyte_of_fences_is_read(identifier, piece):
    fences = piece * (1_000_000 // len(piece))
    assert identifier.identify([f"{SENTENCES['de']} {fences}"]) == ["de"]


OTHER = {
    "bn": "নিনার চারটি বই আছে এবং সে রান্নাঘরে আরও দুটি খুঁজে পায়।",
    "el": "Η Νίνα έχει τέσσερα βιβλία και βρίσκει άλλα δύο στην κουζίνα.",
    "he": "לנינה יש ארבעה ספרים והיא מוצאת עוד שניים במטבח.",
    "hy": "Նինան ունի չորս գիրք և խոհանոցում գտնում է ևս երկուսը։",
    "ka": "ნინას აქვს ოთხი წიგნი და სამზარეულოში კიდევ ორს პოულობს.",
    "km": "នីណាមានសៀវភៅបួនក្បាល ហើយរកឃើញពីរទៀតនៅក្នុងផ្ទះបាយ។",
    "ml": "നീനയുടെ പക്കൽ നാല് പുസ്തകങ്ങളുണ്ട്, അടുക്കളയിൽ രണ്ടെണ്ണം കൂടി കണ്ടെത്തുന്നു.",
    "am": "ኒና አራት መጽሐፍት አሏት እና በኩሽና ውስጥ ሁለት ተጨማሪ ታገኛለች።",
    "my": "နီနာမှာ စာအုပ်လေးအုပ်ရှိပြီး မီးဖိုချောင်ထဲမှာ နောက်ထပ်နှစ်အုပ်တွေ့တယ်။",
    "ta": "நீனாவிடம் நான்கு புத்தகங்கள் உள்ளன, சமையலறையில் மேலும் இரண்டைக் காண்கிறாள்.",
    "te": "నీనా దగ్గర నాలుగు పుస్తకాలు ఉన్నాయి, వంటగదిలో మరో రెండు దొరికాయి.",
}


@pytest.mark.parametrize("code", OTHER)
def test_a_script_that_no_language_of_the_recipe_uses_is_another_language(code):
    few = LanguageIdentifier(["en", "es"])
    assert few.identify(
        [OTHER[code], SENTENCES["es"], f"{SENTENCES['es']} {OTHER[code][:12]}"]
    ) == [code, "es", "es"]


def test_a_quotation_counts_by_its_letters_without_vowel_signs():
    quoted = OTHER["ml"][:54]
    letters, english = sum(map(str.isalpha, quoted)), SENTENCES["en"]
    assert letters < sum(map(str.isalpha, english)) < len(quoted.replace(" ", ""))
    assert LanguageIdentifier(["en", "es"]).identify([f"{english} {quoted}"]) == ["en"]


TWO_SCRIPTS = {
    "sr": (
        "Нина има четири књиге и налази још две у кухињи.",
        "Nina ima četiri knjige i nalazi još dve u kuhinji.",
        "Gde se nalazi najbliža pošta?",
        "Da biste napravili dobru kafu, potrebno je da sameljete zrna neposredno pre kuvanja.",
    ),
    "kk": (
        "Нинада төрт кітап бар және ол ас үйде тағы екеуін табады.",
        "Ninada tört kitap bar jäne ol as üide tağy ekeuin tabady.",
        "Qazaqstan Respublikasynyñ astanasy Astana qalasy bolyp tabylady.",
        "Barlyq adamdar tumysynan azat jáne qadir-qasıeti men quqyqtary teń bolyp dúnıege keledi.",
    ),
    "az": (
        "Ninanın dörd kitabı var və mətbəxdə daha ikisini tapır.",
        "Нинанын дөрд китабы вар вә мәтбәхдә даха икисини тапыр вә она ҝөстәрир.",
        "Фотосинтезин неҹә ишләдијини вә Јердәки һәјат үчүн нијә ваҹиб олдуғуну изаһ един.",
    ),
    "zh": ("尼娜有四本书，又在厨房里找到了两本。", "妮娜有四本書，又在廚房裡找到了兩本。"),
}
TURKISH = "Nina'nın dört kitabı var ve mutfakta iki tane daha buluyor."
CROATIAN = "Nina ima četiri knjige i pronalazi još dvije u kuhinji, gdje ih je prije ostavila."


@pytest.mark.parametrize("code", TWO_SCRIPTS)
@pytest.mark.parametrize("others", [(), ("ru",), ("ru", "es", "de", "fr")])
def test_a_language_of_two_scripts_is_right_in_both(code, others):
    own = LanguageIdentifier(["en", code, *others])
    assert own.identify(TWO_SCRIPTS[code]) == [code] * len(TWO_SCRIPTS[code])
    assert own.identify([SENTENCES["en"], "Yes.", *(SENTENCES[each] for each in others)]) == [
        "en",
        "en",
        *others,
    ]


def test_neighbours_of_a_language_of_two_scripts_are_not_taken_for_it():
    turkic = LanguageIdentifier(["en", "kk", "tr", "az", "ru"])
    texts = [TURKISH, TWO_SCRIPTS["az"][0], *TWO_SCRIPTS["kk"], *TWO_SCRIPTS["az"][1:]]
    assert turkic.identify(texts) == ["tr", "az", *["kk"] * 4, "az", "az"]
    south = LanguageIdentifier(["en", "sr", "hr"])
    assert two_scripts.is_ekavian("Volim proleće zato što je vreme toplo, kao što znaš.")
    assert not two_scripts.is_ekavian("Napiši tri rečenice o zimi. Leptir i delfin se vežu.")
    assert south.identify([CROATIAN, TWO_SCRIPTS["sr"][1]]) == ["hr", "sr"]


@pytest.mark.parametrize(
    ("neighbours", "found"), [((), "sr"), (("bs",), "bs"), (("hr",), "hr"), (("hr", "bs"), "hr")]
)
def test_serbian_and_its_neighbours_are_told_apart_in_every_recipe(neighbours, found):
    south = LanguageIdentifier(["en", "sr", *neighbours])
    assert south.identify([CROATIAN, *TWO_SCRIPTS["sr"]]) == [found, *["sr"] * 4]


@pytest.mark.parametrize(
    "text",
    [
        "Nakon nekog vremena treba pometi i mesti.",
        "Dodaj deci vode i celer, pa stavi na rešetke.",
        "Lepeza je lepršava, a sediment je iz Celja.",
        "Delikt je opisan u tri sveska.",
    ],
)
def test_croatian_words_that_begin_as_serbian_ones_are_not_taken_for_them(text):
    assert not two_scripts.is_ekavian(text)


@pytest.mark.parametrize(
    "text",
    [
        "Zrak svetlosti pada na hleb.",
        "Njena kćerka ima lepu haljinu.",
        "Cela celina ima delove.",
        "Reši zadatak, pa deli rešenje.",
        "Sedim i gledam to mesto.",
    ],
)
def test_serbian_in_latin_letters_is_told_from_croatian(text):
    assert two_scripts.is_ekavian(text)


def test_russian_about_azerbaijani_letters_or_words_is_russian():
    texts = [
        "В азербайджанском алфавите 1958 года есть буквы ә, ҝ, ҹ, ө, ү, ғ, һ и ј.",
        "По-азербайджански «приходить» будет «ҝәлмәк».",
        "Салам, Юлия! Сән ҝәлирсән, бәс Илья нә вахт ҝәләҹәк?",
    ]
    assert LanguageIdentifier(["en", "az", "ru"]).identify(texts) == ["ru", "ru", "az"]


@pytest.mark.parametrize("text", ["α + β = γ", "π ≈ 3.14", "Δ = 4"])
def test_symbols_show_no_language(text):
    assert LanguageIdentifier(["en", "es"]).identify([text]) == [UNDETERMINED]


@pytest.mark.parametrize("code", ["km", "ml", "am", "xx", "zh-Hant", "EN", ""])
def test_a_language_that_cannot_be_identified_is_refused_with_the_recipe(code):
    with pytest.raises(ValidationError, match="cannot be identified"):
        Languages(dominant="en", others=[code])


def test_every_language_that_a_recipe_may_name_can_be_identified():
    assert LanguageIdentifier(list(NAMES)).identify([]) == []
