"""Bearer tokens for the Kubeflow Pipelines API, from the source that the profile names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oauthlib.oauth2 import (
    BackendApplicationClient,
    InsecureTransportError,
    MissingTokenError,
    OAuth2Error,
)
from requests import RequestException
from requests_oauthlib import OAuth2Session

from lidr.components.shared.config.profile import Kubeflow, Oidc
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.text import one_line

POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where pods project the token of their service account, as in Kubeflow's documentation."""

_MARGIN_SECONDS = 60.0
"""A token is fetched again this long before it expires."""

_DEFAULT_LIFETIME_SECONDS = 300.0
"""Assumed for a token whose issuer does not say when it expires."""

_FOREIGN_ANSWERS = (
    MissingTokenError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""Errors raised on reading an answer that is neither a token nor a refusal."""


def token_source(settings: Kubeflow) -> Callable[[], str] | None:
    """Return a function that gives the token for a request; None if requests need none.

    The function raises BadInput where the file or the client's secret cannot be read, or the
    identity provider refuses; Unavailable where the provider does not answer.
    """
    if token := os.environ.get(settings.token_env, "").strip():
        return lambda: _for_header(token, f"${settings.token_env}")
    if settings.token_file:
        return _from_file(Path(settings.token_file), "Correct kubeflow.token_file in the profile.")
    if settings.oidc:
        return _OidcToken(settings.oidc).token
    if POD_TOKEN.is_file():
        return _from_file(POD_TOKEN, "Correct the volume of the pod that projects it.")
    return None


def _from_file(path: Path, remedy: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return _for_header(path.read_text(encoding="utf-8").strip(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"the token cannot be read ({type(error).__name__})", file=path, remedy=remedy
            ) from error

    return read


def _for_header(token: str, origin: str) -> str:
    """Return a token; refuse one that an HTTP header cannot hold."""
    if not (token.isascii() and token.isprintable()):
        raise BadInput(
            f"the token from {origin} holds a line break or another character that no HTTP header "
            "may hold",
            remedy="Set it to the token alone.",
        )
    return token


class _OidcToken:
    """A token of an identity provider, fetched again before it expires."""

    def __init__(self, settings: Oidc) -> None:
        self._settings = settings
        self._token = ""
        self._valid_until = 0.0

    def token(self) -> str:
        """Return a valid token."""
        if time.monotonic() > self._valid_until:
            self._fetch()
        return self._token

    def _fetch(self) -> None:
        given = self._settings
        secret = os.environ.get(given.client_secret_env, "").strip()
        if not secret:
            raise BadInput(
                f"kubeflow.oidc needs the client's secret in ${given.client_secret_env}",
                remedy="Set the variable.",
            )
        # The scope is not given to the client, which would otherwise raise a Warning instead of
        # returning the token where a provider grants other scopes, as Keycloak does.
        more = {"audience": given.audience, "scope": " ".join(given.scope.split())}
        more = {name: value for name, value in more.items() if value}
        session = OAuth2Session(client=BackendApplicationClient(given.client_id))
        session.register_compliance_hook("access_token_response", self._raise_if_unavailable)
        try:
            found = session.fetch_token(given.token_url, client_secret=secret, timeout=30, **more)
            token, seconds = found["access_token"], found.get("expires_in")
            if not (isinstance(token, str) and token):
                raise TypeError("no token")
            lifetime = float(seconds or _DEFAULT_LIFETIME_SECONDS)
        except RequestException as error:
            raise Unavailable(
                f"cannot reach {given.token_url} ({type(error).__name__})",
                remedy="Check kubeflow.oidc.token_url and the network.",
            ) from error
        except UnicodeEncodeError as error:
            raise BadInput(
                "kubeflow.oidc: the client's name or secret holds a character that no HTTP header "
                "may hold",
                remedy=f"Check client_id and ${given.client_secret_env}.",
            ) from error
        except _FOREIGN_ANSWERS as error:
            raise BadInput(
                f"{given.token_url} does not answer as a token endpoint does",
                remedy="Check kubeflow.oidc.token_url.",
            ) from error
        except InsecureTransportError as error:
            raise BadInput(
                f"{given.token_url} is not https",
                remedy="Set OAUTHLIB_INSECURE_TRANSPORT=1, if it is a server for tests.",
            ) from error
        except OAuth2Error as error:
            raise BadInput(
                f"{given.token_url} gives no token: {one_line(str(error.error))}",
                remedy=f"Check kubeflow.oidc and ${given.client_secret_env}.",
            ) from error
        self._token = _for_header(token, given.token_url)
        self._valid_until = time.monotonic() + lifetime - _MARGIN_SECONDS

    def _raise_if_unavailable(self, answer: Any) -> Any:
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            raise Unavailable(
                f"{self._settings.token_url} is up, but gives no token (HTTP {answer.status_code})",
                remedy="Look at the identity provider's log, then run the same command again.",
            )
        return answer
