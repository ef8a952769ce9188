"""Keeps secrets out of records and messages: logins in addresses, and the environment's secrets.

Addresses travel into markers, MLflow, compiled pipelines and messages, so one with a login is
refused where it is read. Libraries and servers may still repeat a secret in what they say, so it is
removed from our messages and events before anybody sees them.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, urlsplit

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|CREDENTIALS?(?:_|$)|TOKEN(?:_|$)|API_?KEY|ACCESS_KEY|_AUTH$",
    re.IGNORECASE,
)
_LOCATION_NAME = re.compile(r"(?:_FILE|_PATH|_DIR|_ENV|_URI|_URL)$", re.IGNORECASE)
_NOTIFY_URL = "LIDR_NOTIFY_URL"
"""An address that is itself a secret: whoever knows it can write to the chat."""

_MIN_CHARS = 8
"""Shorter values are not removed: that would black out ordinary words."""

_LOGIN = re.compile(
    r"\b(?!models:|hf:/{1,2}[^/:\s]*@)"
    r"([a-z][a-z0-9+.-]{0,30}:/{1,2})[^/\s'\"]{1,4096}@",  # a path has one slash
    re.IGNORECASE,
)
_QUERY_SECRET = re.compile(
    r"([?&](?:[^=&?\s]{0,40}(?:password|passwd|token|secret|api_?key|signature)[^=&?\s]{0,40}"
    r"|sig|key|code)=)"
    r"[^&\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"\b(Basic|Bearer) (?=[a-z]*[^a-z\s])[A-Za-z0-9+/=._~-]{12,}",  # no word of English
)
_REDACTED = "[redacted]"


def login_fault(address: str) -> str:
    """Return why an address holds a secret, or "".

    A database's address may name a user; in other addresses the user may be a token.
    """
    if "://" not in address:
        return ""
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
        query = [f"?{name}=x" for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:  # not an address, which is reported elsewhere
        return "holds a login" if _LOGIN.search(address) else ""
    database = parts.scheme.partition("+")[0] in ("postgresql", "mysql", "mssql")
    named = user is not None and not database and parts.scheme != "hf"
    if password is not None or named:
        return "holds a login"
    return "holds a secret in its query" if any(map(_QUERY_SECRET.search, query)) else ""


def may_hold_secret(key: str) -> bool:
    """Return whether a key is for a secret or for a secret's name: people mix the two up."""
    return bool(_SECRET_NAME.search(key))


def is_secret_name(name: str) -> bool:
    """Return whether a variable or key of this name holds a secret, rather than a place or nothing.

    >>> is_secret_name("HF_TOKEN"), is_secret_name("TOKENIZERS_PARALLELISM")
    (True, False)
    """
    named = may_hold_secret(name) and not _LOCATION_NAME.search(name)
    return named or name == _NOTIFY_URL


def without_secrets(text: str) -> str:
    """Return a text without the values of the environment's secrets.

    A server may repeat one in an error message, a judge in its verdict.
    """
    for value in _secrets():
        if value in text:
            text = text.replace(value, _REDACTED)
    return text


def redacted(text: str) -> str:
    """Return a message without secrets of the environment, of addresses and of HTTP headers."""
    text = _HEADER.sub(rf"\1 {_REDACTED}", without_secrets(text))
    if ":/" in text:
        text = _QUERY_SECRET.sub(rf"\1{_REDACTED}", _LOGIN.sub(rf"\1{_REDACTED}@", text))
    return text


def redact_exception(error: BaseException) -> None:
    """Remove secrets from an exception, its causes and contexts, before a traceback shows them."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:  # some libraries raise circular chains
            continue
        seen.add(id(each))
        each.args = tuple(redacted(a) if isinstance(a, str) else a for a in each.args)
        if isinstance(each, OSError) and each.strerror:
            each.strerror = redacted(str(each.strerror))
        waiting += [each.__cause__, each.__context__]


def _secrets() -> Iterator[str]:
    """Yield the environment's secrets, also as HTTP's Basic authentication writes them."""
    for name, value in os.environ.items():
        if len(value) < _MIN_CHARS or not is_secret_name(name):
            continue
        yield value
        if (quoted := quote(value, safe="")) != value:
            yield quoted
        user = os.environ.get(name.replace("PASSWORD", "USERNAME"), "")
        if name.endswith("PASSWORD") and user:
            yield b64encode(f"{user}:{value}".encode()).decode()
