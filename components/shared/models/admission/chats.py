"""What admission decides about a model's chats, by trying its template out."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.admission.candidate import ModelCandidate
from lidr.components.shared.models.chat.template import SYSTEM_FOLDED
from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    answer_messages,
    translation_messages,
)
from lidr.components.shared.records.kinds import Message

_SAMPLE = "Two and two are four."
_REMEDY = "Correct chat_template.jinja, or choose another model."


@dataclass(frozen=True)
class _Asked:
    """A chat of the kind that lidr sends."""

    messages: list[Message]
    primer: str = ""


def template(candidate: ModelCandidate) -> str:
    """Decide whether the chats that lidr sends render, and hold what was said in them."""
    chat, asked = candidate.chat, (_Asked(answer_messages(_SAMPLE)), _translation(candidate))
    try:
        rendered = [chat.render(each) for each in asked]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(
            f"the chat template does not render: {type(error).__name__}: {error}",
            file=candidate.folder,
            remedy=_REMEDY,
        ) from error
    if any(_squeezed(_SAMPLE) not in _squeezed(chat.text(each)) for each in rendered):
        raise BadInput(
            "what the user says is lost in the chat template", file=candidate.folder, remedy=_REMEDY
        )
    sizes = [len(tokens) for tokens in rendered]
    given = "".join(f", {k}={v}" for k, v in candidate.recipe.model.template_arguments.items())
    return f"a prompt takes {sizes[0]} tokens, a translation {sizes[1]}{given}"


def end_of_turn(candidate: ModelCandidate) -> str:
    """Decide with what a turn ends: what is learnt, and where generation stops."""
    chat, tokenizer = candidate.chat, candidate.tokenizer

    def named(token: int) -> str:
        return f"{tokenizer.convert_ids_to_tokens(token)} ({token})"

    learnt = chat.turn.tokens
    before = tokenizer.decode(learnt[:-1])
    told = f"{before!r} and {named(learnt[-1])}" if before else named(learnt[-1])
    others = sorted(chat.stops - {learnt[-1]})
    return told + (f"; also stops at {', '.join(map(named, others))}" if others else "")


def thinking(candidate: ModelCandidate) -> str:
    """Decide what becomes of thoughts."""
    found = candidate.chat.template
    if found.thinking == "none":
        return "none: nothing in the model's files shows thoughts"
    if found.thinking == "off":
        given = found.arguments
        switch = ", ".join(f"{name}: {given[name]}".lower() for name in found.switch)
        return f"off, by the chat template's {switch}"
    marks = " or ".join(f"{each.opening}...{each.closing}" for each in found.marks)
    word = "removed" if found.thinking == "remove" else "kept"
    return f"{word}, from {marks}" + (", which a turn begins inside" if found.opened else "")


def translation(candidate: ModelCandidate) -> str:
    """Decide whether a translation is primed: its answer must begin with the primer."""
    if candidate.chat.primed(_translation(candidate)):
        return f"primed with {TRANSLATION_PRIMER}"
    return f"not primed: a turn begins inside a thought; {TRANSLATION_PRIMER} must follow it"


def system_text(candidate: ModelCandidate) -> str:
    """Decide where system text goes."""
    return "a system turn" if candidate.chat.template.takes_system else SYSTEM_FOLDED


def date(candidate: ModelCandidate) -> str:
    """Decide what day the template is told, where it asks."""
    if not candidate.chat.template.uses_date:
        return "not asked for"
    day = candidate.recipe.model.date
    return f"{day}, in every step" if day else "the day on which the run begins, in every step"


def _translation(candidate: ModelCandidate) -> _Asked:
    languages = candidate.recipe.languages
    messages = translation_messages(_SAMPLE, languages.dominant, languages.others[0])
    return _Asked(messages, TRANSLATION_PRIMER)


def _squeezed(text: str) -> str:
    """Return a text without what some tokenizers do not keep: spaces and capitals."""
    return "".join(text.split()).casefold()
