"""Keeps secrets out of records and messages: logins in addresses, and the environment's secrets.

Addresses travel into markers, MLflow, compiled pipelines and messages, so one with a login is
refused where it is read. Libraries and servers may still repeat a secret in what they say, so it is
removed from our messages and events before anybody sees them.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from contextlib import suppress
from types import MemberDescriptorType
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|CREDENTIALS?(?:_|$)|TOKEN(?:_|$)|API_?KEY|ACCESS_KEY"
    r"|(?<!MLFLOW_TRACKING)_AUTH$",  # that one names a plugin
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
_DATABASE_LOGIN = re.compile(
    r"\b((?:postgresql|mysql|mssql)(?:\+\w{1,30})?://)"
    r"[^:/\s]{0,256}:(?:(?!://)[^@\s]){0,4096}@",
    re.IGNORECASE,
)
"""A login as SQLAlchemy reads it: the password may hold /, ? and #."""

_QUERY_SECRET = re.compile(
    r"([?&](?:[^=&?\s]{0,40}"
    r"(?:password|passwd|pwd|token(?!izer|s)|secret|(?:api|access)[_-]?key|signature)"
    r"[^=&?\s]{0,40}|sig|key|auth|authorization|code)=)"
    r"[^&\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"\b((?i:Basic|Bearer)) "
    r"(?=\S[a-z.]*[A-Z0-9+/=_~-])[A-Za-z0-9+/=._~-]{12,}",  # no word, capitalized or not
)
_REDACTED = "[redacted]"
_MAX_DEPTH = 20
_MAX_BYTES = 1 << 20


def login_fault(address: str) -> str:
    """Return why an address holds a secret, or "".

    A database's address may name a user; in other addresses the user may be a token.
    """
    if "://" not in address:
        return ""
    if _DATABASE_LOGIN.search(address):
        return "holds a login"
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
        query = [
            f"?{name}=x"
            for name, _ in parse_qsl(parts.query, keep_blank_values=True)
            if name.lower() != "code"  # a language's, more often than a login's
        ]
    except ValueError:  # not an address, which is reported elsewhere
        return "holds a login" if _LOGIN.search(address) else ""
    database = parts.scheme.partition("+")[0] in ("postgresql", "mysql", "mssql")
    named = user is not None and not database and parts.scheme != "hf"
    if password is not None or named:
        return "holds a login"
    return "holds a secret in its query" if any(map(_QUERY_SECRET.search, query)) else ""


def service_login_fault(address: str) -> str:
    """Return `login_fault` of a service's address, also if the address lacks its scheme."""
    return login_fault(address if "://" in address else f"http://{address}")


def may_hold_secret(key: str) -> bool:
    """Return whether a key may hold a secret.

    So may a key for the name of a variable: users write the secret itself there.
    """
    return bool(_SECRET_NAME.search(key))


def is_secret_name(name: str) -> bool:
    """Return whether a variable or key of this name holds a secret, and not only its place.

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
        for login in (_DATABASE_LOGIN, _LOGIN):
            text = login.sub(rf"\1{_REDACTED}@", text)
    return _QUERY_SECRET.sub(rf"\1{_REDACTED}", text)  # urllib3 names the path alone


def redact_exception(error: BaseException) -> None:
    """Remove secrets from an exception and all it leads to, before a traceback shows them.

    That is its attributes, notes, causes, contexts, and the exceptions it groups or wraps.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()

    def clean(value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return redacted(value)
        if isinstance(value, bytes):
            if len(value) > _MAX_BYTES:  # a whole file that is not UTF-8
                return _REDACTED.encode()
            text = redacted(value.decode("utf-8", "surrogateescape"))
            return text.encode("utf-8", "surrogateescape")
        if depth > _MAX_DEPTH:  # a list may hold itself
            return _REDACTED
        if isinstance(value, BaseException):
            waiting.append(value)
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(clean(item, depth + 1) for item in value)
        if type(value) is dict:
            return {clean(key, depth + 1): clean(item, depth + 1) for key, item in value.items()}
        return value

    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:  # some libraries raise circular chains
            continue
        seen.add(id(each))
        args: Any = BaseException.args
        args.__set__(each, clean(each.args))  # some exceptions are frozen
        vars(each).update(clean(vars(each)))
        for member in _members(each):
            try:
                value = member.__get__(each)
            except AttributeError:  # it is unset
                continue
            if (cleaned := clean(value)) is not value:
                with suppress(AttributeError, TypeError):  # it is read-only or of one type
                    member.__set__(each, cleaned)
        waiting += [each.__cause__, each.__context__]


def _members(error: BaseException) -> list[MemberDescriptorType]:
    """Return the attributes outside an exception's `__dict__`: `OSError.filename`, any slots."""
    found = [each for kind in type(error).__mro__ for each in vars(kind).values()]
    return [each for each in found if isinstance(each, MemberDescriptorType)]


def _secrets() -> list[str]:
    """Return the environment's secrets, also as messages and Basic authentication hold them.

    The longest come first: one may begin with another.
    """
    found: set[str] = set()
    for name, value in os.environ.items():
        secret = value.strip()  # `echo x | base64` adds a line's end, which clients leave out
        if len(secret) < _MIN_CHARS or not is_secret_name(name):
            continue
        found |= {secret, *_quoted(secret)}
        user = os.environ.get(name.replace("PASSWORD", "USERNAME"), "").strip()
        if name.endswith("PASSWORD") and user:
            found.add(b64encode(os.fsencode(f"{user}:{secret}")).decode())
    return sorted(found, key=len, reverse=True)


def _quoted(secret: str) -> set[str]:
    """Return a secret as Python, JSON and addresses quote it."""
    texts = (repr(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False))
    addresses = (quote(os.fsencode(secret), safe) for safe in ("", "/"))
    return {*addresses, *(text[1:-1] for text in texts)}
