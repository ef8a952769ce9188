"""Prompts of the judge: files with places, filled so that no text can leave its place.

Every text of a model or of a user is in a block of its own, which only a line with the nonce of
the request ends. The nonce is a digest of all that the request holds, so no text can have foreseen
it, and yet the same request has the same one when it is asked again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lidr.components.shared.core.digest import digest_of, digest_of_bytes
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.inputs.files import read_file
from lidr.components.shared.records.schema import Message

OWN = Path(__file__).parent / "prompts"

_ALWAYS = ("language", "nonce")
_PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairwise": (("conversation", "first", "second"), ()),
    "score": (("conversation", "answer"), ("reference",)),
    "rubric": (("conversation", "answer"), ("reference", "criteria")),
}
"""Places that a prompt must have, and those that it may have besides language and nonce."""

_PLACE = re.compile(r"\{([A-Za-z_]+)\}")
_CONTROL = re.compile(
    r"<(?=\|)|\|(?=>)|<(?=｜)|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think)>)"
    r"|\[(?=/?(?:INST|SYS|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One text that the judge reads, and what it is called."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A prompt file.

    Attributes:
        text: with places such as `{conversation}`.
        digest: of the file.
    """

    text: str
    digest: str

    def messages(self, language: str, places: Mapping[str, Sequence[Block]]) -> list[Message]:
        """Return the chat that asks the judge.

        Args:
            language: English name of the language that an answer must be in.
            places: blocks by the name of the place that they fill; none where there are none.
        """
        texts = [[block.name, block.text] for blocks in places.values() for block in blocks]
        nonce = digest_of([self.digest, language, *texts])[:16]
        values = {name: _blocks(blocks, nonce) for name, blocks in places.items()}
        values |= {"language": language, "nonce": nonce}
        content = _PLACE.sub(lambda place: values[place[1]], self.text)
        return [{"role": "user", "content": content}]


def load_prompt(name: str, folder: str = "") -> JudgePrompt:
    """Read a prompt.

    Args:
        name: pairwise, score or rubric.
        folder: the recipe's own, or "" for ours.

    Raises:
        BadInput: there is no such file, a place is missing, or one is unknown (file and line).
    """
    file = f"{folder or OWN}/{name}.md"
    data = read_file(file, "judge.prompts")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=file, line=line, remedy="Save it as UTF-8.") from error
    required, optional = _PLACES[name]
    _require_places(text, file, required, (*required, *optional, *_ALWAYS))
    return JudgePrompt(text, digest_of_bytes(data))


def masked(text: str) -> str:
    """Return a text in which nothing is a control token of a chat template.

    A server renders the chat and reads control tokens wherever they are, also inside an answer. A
    zero-width space after the first character of what looks like one keeps it readable.
    """
    return _CONTROL.sub(lambda found: f"{found[0]}\u200b", valid_unicode(text))


def _blocks(blocks: Sequence[Block], nonce: str) -> str:
    if not blocks:
        return "(none)"
    return "\n\n".join(
        f"[{block.name} {nonce}]\n{masked(block.text)}\n[/{block.name} {nonce}]" for block in blocks
    )


def _require_places(text: str, file: str, required: Sequence[str], known: Sequence[str]) -> None:
    for place in _PLACE.finditer(text):
        if place[1] not in known:
            raise BadInput(
                f"{place[0]} is none of its places, which are {', '.join(sorted(known))}",
                file=file,
                line=text.count("\n", 0, place.start()) + 1,
                remedy="Remove or rename it.",
            )
    if missing := [name for name in required if f"{{{name}}}" not in text]:
        raise BadInput(
            f"the place {{{missing[0]}}} is missing", file=file, remedy="Add it to the prompt."
        )
