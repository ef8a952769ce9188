"""Bearer tokens for the Kubeflow Pipelines API, from the source that the profile names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests import RequestException
from requests_oauthlib import OAuth2Session

from lidr.components.shared.config.profile import Kubeflow, Oidc
from lidr.components.shared.core.errors import BadInput, Unavailable

POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
"""Where pods project the token of their service account, as in Kubeflow's documentation."""

_MARGIN_SECONDS = 60.0
"""A token is fetched again so long before it expires."""

_DEFAULT_LIFETIME_SECONDS = 300.0
"""Of a token whose issuer does not say when it expires."""


def token_source(settings: Kubeflow) -> Callable[[], str] | None:
    """Return a function that gives the token for a request; None if requests need none.

    Raises:
        BadInput: the profile names a file or secret that is not there.
    """
    if token := os.environ.get(settings.token_env):
        return lambda: token
    if settings.token_file:
        return _from_file(Path(settings.token_file))
    if settings.oidc:
        return _OidcToken(settings.oidc).token
    if POD_TOKEN.is_file():
        return _from_file(POD_TOKEN)
    return None


def _from_file(path: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(
                f"the token cannot be read ({type(error).__name__})",
                file=path,
                remedy="Correct kubeflow.token_file in the profile.",
            ) from error

    return read


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
        secret = os.environ.get(given.client_secret_env)
        if not secret:
            raise BadInput(
                f"kubeflow.oidc needs the client's secret in ${given.client_secret_env}",
                remedy="Set the variable.",
            )
        more = {"audience": given.audience} if given.audience else {}
        client = BackendApplicationClient(given.client_id, scope=given.scope.split() or None)
        session = OAuth2Session(client=client)
        session.register_compliance_hook("access_token_response", self._raise_if_unavailable)
        try:
            found = session.fetch_token(given.token_url, client_secret=secret, timeout=30, **more)
        except RequestException as error:
            raise Unavailable(
                f"cannot reach {given.token_url} ({type(error).__name__})",
                remedy="Check kubeflow.oidc.token_url and the network.",
            ) from error
        except OAuth2Error as error:
            raise BadInput(
                f"{given.token_url} gives no token: {error.error}",
                remedy=f"Check kubeflow.oidc and ${given.client_secret_env}.",
            ) from error
        self._token = str(found["access_token"])
        seconds = float(found.get("expires_in") or _DEFAULT_LIFETIME_SECONDS)
        self._valid_until = time.monotonic() + seconds - _MARGIN_SECONDS

    def _raise_if_unavailable(self, answer: Any) -> Any:
        if answer.status_code >= 500:
            raise Unavailable(
                f"{self._settings.token_url} is up, but gives no token (HTTP {answer.status_code})",
                remedy="Look at the identity provider's log, then run the same again.",
            )
        return answer
