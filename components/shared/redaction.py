"""What must not be told: logins in addresses, and the secrets that the environment holds.

Addresses travel into markers, MLflow, compiled pipelines and messages, so one with a login is
refused where it is read. What libraries and servers say may repeat a secret all the same: our
messages and events are cleaned of it before anybody sees them.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|CREDENTIALS?(?:_|$)|TOKEN(?:_|$)|API_?KEY|ACCESS_KEY|_AUTH$",
    re.IGNORECASE,
)
_OF_A_PLACE = re.compile(r"(?:_FILE|_PATH|_DIR|_ENV|_URI|_URL)$", re.IGNORECASE)
_FEWEST = 8
"""Characters that a value must have: a shorter one would black out ordinary words."""

_LOGIN = re.compile(r"\b(?!hf://[^/:\s]*@)([a-z][a-z0-9+.-]*://)[^/\s@'\"]+@", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:password|passwd|token|secret|api_?key|signature)[^=&\s]*=)[^&\s'\"]+",
    re.IGNORECASE,
)
_GONE = "[redacted]"


def login_fault(address: str) -> str:
    """Return why an address tells a secret, or "".

    A database's address may name its user; in all others that place holds tokens, too.
    """
    if "://" not in address:
        return ""
    try:
        parts = urlsplit(address)
        password, user = parts.password, parts.username
        query = [f"?{name}=x" for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:  # no address at all, which others will say
        return "holds a login" if _LOGIN.search(address) else ""
    database = parts.scheme.partition("+")[0] in ("postgresql", "mysql", "mssql")
    named = user is not None and not database and parts.scheme != "hf"
    if password is not None or named:
        return "holds a login"
    return "holds a secret in its query" if any(map(_IN_QUERY.search, query)) else ""


def is_secret_name(name: str) -> bool:
    """Tell whether a variable or key of this name holds a secret, rather than a place or nothing.

    >>> is_secret_name("HF_TOKEN"), is_secret_name("TOKENIZERS_PARALLELISM")
    (True, False)
    """
    return bool(_NAME.search(name)) and not _OF_A_PLACE.search(name)


def redacted(text: str) -> str:
    """Return a text without logins in addresses and without the environment's secrets."""
    for name, value in os.environ.items():
        if len(value) >= _FEWEST and value in text and is_secret_name(name):
            text = text.replace(value, _GONE)
    if "://" in text:
        text = _IN_QUERY.sub(rf"\1{_GONE}", _LOGIN.sub(rf"\1{_GONE}@", text))
    return text
