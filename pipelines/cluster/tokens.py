"""Bearer tokens for the Kubeflow Pipelines API, from where the profile says they are."""

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
"""Where Kubeflow's documentation has pods project the token of their service account."""

_MARGIN = 60.0
"""Seconds before its end at which a token is fetched again."""

_LIFETIME = 300.0
"""Seconds that a token is used for where its issuer does not say."""


def token_source(settings: Kubeflow) -> Callable[[], str] | None:
    """Return what gives the token of each request; None where requests go without one.

    Raises:
        BadInput: the profile names a file or secret that is not there.
    """
    if token := os.environ.get(settings.token_env):
        return lambda: token
    if settings.token_file:
        return _from_file(Path(settings.token_file))
    if settings.oidc:
        return _Fetched(settings.oidc).token
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


class _Fetched:
    """A token of an identity provider, fetched again before it ends."""

    def __init__(self, settings: Oidc) -> None:
        self._settings = settings
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return a token that is valid for a while."""
        if time.monotonic() > self._until:
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
        more = {name: value for name, value in (("audience", given.audience),) if value}
        client = BackendApplicationClient(given.client_id, scope=given.scope.split() or None)
        session = OAuth2Session(client=client)
        session.register_compliance_hook("access_token_response", self._refuse_trouble)
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
        self._until = time.monotonic() + float(found.get("expires_in") or _LIFETIME) - _MARGIN

    def _refuse_trouble(self, answer: Any) -> Any:
        if answer.status_code >= 500:
            raise Unavailable(
                f"{self._settings.token_url} is up, but gives no token (HTTP {answer.status_code})",
                remedy="Look at the identity provider's log, then run the same again.",
            )
        return answer
