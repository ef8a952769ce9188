"""Where the items of our own tasks are published, each file pinned by its digest or its commit."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.config.source import Source


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Where a family's items are published.

    Attributes:
        dataset: its name on the hub, which may be a key of `evaluation.data` as well.
        source: the file of each language, pinned.
        languages: ISO 639-1 codes of its languages.
        numeric: whether every answer is a number.
    """

    dataset: str
    source: Source
    languages: tuple[str, ...]
    numeric: bool


_MGSM = {
    "bn": "6b00bc7cc635547e866989284afa924d789b5affa2eb8de623c385dd943ad977",
    "de": "4dfea30fede44b813e2e496f5f0534049e83c7cc8aed6e00600b30ec62053626",
    "en": "50021d0f28cc957edcb44e7806425b1c7fbd648ddcb9e0a8ec689d10e57d40fa",
    "es": "5bd27ebdf00140cec845c5298dc17715f5cd57d8edda6df1976db40bf3f0750a",
    "fr": "36207c1c03fd7cd3ea491441eb755408199f94e4a647851df531bbaedc99d606",
    "ja": "59a2b50debe77981fd784cb3b2bef1505e3abf2a37116dc9d7a366ab029b4637",
    "ru": "6bd30fd2e80c5bac23f566fb4ae0e6a55a19578401fbf9a01fb21beb3645fef8",
    "sw": "2bac828d77229e65d7c7197b1ad4a2cb5b1fe99b163f2cbdd66501de6a2115c4",
    "te": "dd6b1452c244bb2e4ba254c01ea84137f80c1cefc57d69c23b0ed88b9c0f36b7",
    "th": "f3932dc5ad8e9d0ea82b017adc1e1461dd647af861e7166d6741986602a0cfd6",
    "zh": "b2fa63151022370a0de1f4211c8c284eae74b0f5a3b003b1d5982c0d4a73f661",
}
_MMATH = {
    "ar": "237506c009b827f03894eab8375695e0e163e402bc5121cafed436cab2165213",
    "en": "1912f0a6a6fbb3d8425ee7355183f885b99a3818ced5955dc5129fea9453466c",
    "es": "c84a9fb89281eebf3eda97ce46f036503b8d6baf2a66d4f2e3a851d8ece21c63",
    "fr": "83f0f01a756edb1af3a13831cb1eee116a90354a3f3b647b298f8954a739b461",
    "ja": "3f55becf795daab580cee66e565f10cf66ffe75940e72327bee88a7b08bfc680",
    "ko": "a8f1a45d92427e43a4ee879b68702fbb923d7c976147a1b8124bb6c8b917c412",
    "pt": "ac48816a3bd1e1474613bf50f84c1ab77be6c63ff110ac09e344ad485b0d6bff",
    "th": "3b001519fb6f1f3f36d0798ab5b808f45257a36b202b4abc2304ece4d9f01ac8",
    "vi": "056616c58b29e3bb3345f3573cf950f799fd19151178d5f549f37c78420b47e4",
    "zh": "b0c7cf0fee0d9f6193c93dda04b035d8f7607247c77aae8d8e46a27cc52b1951",
}

SOURCES = {
    # Shi et al. 2022, arXiv 2210.03057; the harness reads a copy of it, juletxara/mgsm.
    "mgsm": ItemSource(
        "juletxara/mgsm",
        Source(
            "https://raw.githubusercontent.com/google-research/url-nlp/"
            "2d5736bde2ca9eeccb0f937fddef518591ac3aa7/mgsm/mgsm_{language}.tsv",
            _MGSM,
            "CC-BY-SA-4.0",
        ),
        tuple(_MGSM),
        numeric=True,
    ),
    # Luo et al. 2025, arXiv 2505.19126.
    "mmath": ItemSource(
        "RUCAIBox/MMATH",
        Source(
            "https://raw.githubusercontent.com/RUCAIBox/MMATH/"
            "e04a8ba49ba24a504512be6f84d25b8370add1dd/mmath/{language}.json",
            _MMATH,
        ),
        tuple(_MMATH),
        numeric=False,
    ),
    # Lightman et al. 2023, arXiv 2305.20050.
    "math500": ItemSource(
        "HuggingFaceH4/MATH-500",
        Source(
            "hf://datasets/HuggingFaceH4/MATH-500@6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be/"
            "test.jsonl"
        ),
        ("en",),
        numeric=False,
    ),
}


def canonical(dataset: str) -> str:
    """Return the current name of a data set whose owner has been renamed on the hub."""
    return dataset.replace("CohereForAI/", "CohereLabs/")
