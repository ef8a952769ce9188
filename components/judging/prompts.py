"""Prompts of the judge: files with placeholders, filled so that no text can pose as the prompt.

Every text of a model or a user is in a block that only a line with the request's nonce can end. The
nonce is a digest of everything in the request: no text can predict it, and the same request has the
same nonce when it is sent again.
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

PROMPTS_FOLDER = Path(__file__).parent / "prompts"

_COMMON = ("language", "nonce")
_PLACEHOLDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairwise": (("conversation", "first", "second"), ()),
    "score": (("conversation", "answer"), ("reference",)),
    "rubric": (("conversation", "answer"), ("reference", "criteria")),
}
"""Placeholders that a prompt must have, and those that it may have besides `_COMMON`."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_CONTROL_TOKEN = re.compile(
    r"<(?=\||｜)|\|(?=>|\])|\[(?=\|)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think)>)|\[(?=/?(?:INST|SYS)\])"
    r"|<(?-i:(?=/?[A-Z][A-Z0-9_]*_TOKEN>))|\[(?-i:(?=/?[A-Z][A-Z_]+\]))",
    re.IGNORECASE,
)
"""Starts and ends of control tokens: <|im_end|>, <｜User｜>, [|endofturn|], </s>, <EOS_TOKEN>,
[/INST], [TOOL_CALLS]."""


@dataclass(frozen=True, slots=True)
class Block:
    """One text that the judge reads, and the name it is shown under."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A prompt file.

    Attributes:
        text: the file's text, with placeholders such as `{conversation}`.
        digest: SHA-256 of the file.
    """

    text: str
    digest: str

    def messages(self, language: str, blocks: Mapping[str, Sequence[Block]]) -> list[Message]:
        """Return the chat to send to the judge.

        Args:
            language: English name of the language that an answer must be in.
            blocks: what fills each placeholder; an empty sequence is shown as `(none)`.
        """
        texts = [[block.name, block.text] for own in blocks.values() for block in own]
        nonce = digest_of([self.digest, language, *texts])[:16]
        values = {name: _render(own, nonce) for name, own in blocks.items()}
        values |= {"language": language, "nonce": nonce}
        content = _PLACEHOLDER.sub(lambda found: values[found[1]], self.text)
        return [{"role": "user", "content": content}]


def load_prompt(name: str, folder: str = "") -> JudgePrompt:
    """Read a prompt file.

    Args:
        name: pairwise, score or rubric.
        folder: the recipe's `judge.prompts`, or "" for lidr's own.

    Raises:
        BadInput: the file is missing or not UTF-8, or a placeholder is missing or unknown.
    """
    file = f"{folder or PROMPTS_FOLDER}/{name}.md"
    data = read_file(file, "judge.prompts")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=file, line=line, remedy="Save it as UTF-8.") from error
    required, optional = _PLACEHOLDERS[name]
    _require_placeholders(text, file, required, (*required, *optional, *_COMMON))
    return JudgePrompt(text, digest_of_bytes(data))


def masked(text: str) -> str:
    """Return a text in which nothing is a control token of a chat template.

    A server reads control tokens anywhere in a rendered chat, also inside an answer. A zero-width
    space after its first character turns such a token into plain text that can still be read.
    """
    return _CONTROL_TOKEN.sub(lambda found: f"{found[0]}\u200b", valid_unicode(text))


def _render(blocks: Sequence[Block], nonce: str) -> str:
    if not blocks:
        return "(none)"
    return "\n\n".join(
        f"[{block.name} {nonce}]\n{masked(block.text)}\n[/{block.name} {nonce}]" for block in blocks
    )


def _require_placeholders(
    text: str, file: str, required: Sequence[str], known: Sequence[str]
) -> None:
    for found in _PLACEHOLDER.finditer(text):
        if found[1] not in known:
            raise BadInput(
                f"{found[0]} is not a placeholder of this prompt; its placeholders are "
                f"{', '.join(sorted(known))}",
                file=file,
                line=text.count("\n", 0, found.start()) + 1,
                remedy="Remove or rename it.",
            )
    if missing := [name for name in required if f"{{{name}}}" not in text]:
        raise BadInput(
            f"the placeholder {{{missing[0]}}} is missing",
            file=file,
            remedy="Add it to the prompt.",
        )
