"""The properties of a model's chats, found by trying out its template."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    answer_messages,
    translation_messages,
)
from lidr.components.shared.records.kinds import Message

_SAMPLE = "Two and two are four."
_REMEDY = "Correct chat_template.jinja, or choose another model."


@dataclass(frozen=True)
class _SampleChat:
    """A chat of the kind that lidr sends."""

    messages: list[Message]
    primer: str = ""


def template(candidate: ModelCandidate) -> str:
    """Check that the chats that lidr sends render, and that their messages are in the result."""
    chat = candidate.chat
    samples = (_SampleChat(answer_messages(_SAMPLE)), _translation(candidate))
    try:
        rendered = [chat.render(each) for each in samples]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(
            f"the chat template does not render: {type(error).__name__}: {error}",
            file=candidate.folder,
            remedy=_REMEDY,
        ) from error
    if any(_squeezed(_SAMPLE) not in _squeezed(chat.decode(each)) for each in rendered):
        raise BadInput(
            "what the user says is lost in the chat template", file=candidate.folder, remedy=_REMEDY
        )
    sizes = [len(tokens) for tokens in rendered]
    given = "".join(f", {k}={v}" for k, v in candidate.recipe.model.template_arguments.items())
    return f"a five-word prompt takes {sizes[0]} tokens, its translation request {sizes[1]}{given}"


def end_of_turn(candidate: ModelCandidate) -> str:
    """Say what ends a turn: the end that is trained on, and where generation stops."""
    chat, tokenizer = candidate.chat, candidate.tokenizer

    def named(token: int) -> str:
        return f"{tokenizer.convert_ids_to_tokens(token)} ({token})"

    *start, last = chat.turn.tokens
    before = tokenizer.decode(start)
    decision = f"{before!r} and {named(last)}" if before else named(last)
    others = sorted(chat.stops - {last})
    return decision + (f"; also stops at {', '.join(map(named, others))}" if others else "")


def thinking(candidate: ModelCandidate) -> str:
    """Say what is done with thoughts."""
    chat = candidate.chat.template
    if chat.thinking == "none":
        return "none found in the model's files; a leading <think> would be removed"
    if chat.thinking == "off":
        given = chat.arguments
        switch = ", ".join(f"{name}: {given[name]}".lower() for name in chat.switch)
        return f"off, by the chat template's {switch}"
    marks = " or ".join(f"{each.opening}...{each.closing}" for each in chat.marks)
    word = "removed" if chat.thinking == "remove" else "kept"
    return f"{word}, from {marks}" + (", which a turn begins inside" if chat.opened else "")


def translation(candidate: ModelCandidate) -> str:
    """Say whether translations are primed, or the model must write the primer itself."""
    if candidate.chat.primed(_translation(candidate)):
        return f"primed with {TRANSLATION_PRIMER}"
    return (
        "not primed: each turn begins inside a thought, so the model must write "
        f"{TRANSLATION_PRIMER} itself after it"
    )


def system_text(candidate: ModelCandidate) -> str:
    """Say where system text goes."""
    if candidate.chat.template.takes_system:
        return "a system turn"
    return "to the front of the first user turn: the chat template has no system role"


def date(candidate: ModelCandidate) -> str:
    """Say which day the template gets, if it asks for one."""
    if not candidate.chat.template.uses_date:
        return "not asked for"
    day = candidate.recipe.model.date
    return f"{day}, in every step" if day else "the day on which the run begins, in every step"


def _translation(candidate: ModelCandidate) -> _SampleChat:
    languages = candidate.recipe.languages
    messages = translation_messages(_SAMPLE, languages.dominant, languages.others[0])
    return _SampleChat(messages, TRANSLATION_PRIMER)


def _squeezed(text: str) -> str:
    """Return a text without spaces and capitals, which some tokenizers do not keep."""
    return "".join(text.split()).casefold()
