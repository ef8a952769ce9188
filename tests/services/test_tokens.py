"""Bearer tokens for Kubeflow: from the environment, a file, and an identity provider over HTTP."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from lidr.components.shared.config.profile import Kubeflow
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.pipelines.cluster import tokens
from lidr.pipelines.cluster.tokens import token_source
from tests.json_server import serving

GRANTED = {"access_token": "a-token", "token_type": "Bearer", "expires_in": 300}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """OAuth's own library wants https; its switch for tests allows a server without."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("LIDR_KFP_CLIENT_SECRET", "s3cret\n")
    monkeypatch.delenv("LIDR_KFP_TOKEN", raising=False)


def fetched(answer: Any, code: int = 200, **more: str) -> tuple[str, dict[str, str]]:
    """Return the token that an identity provider with one answer gives, and what it was sent."""
    sent: dict[str, str] = {}

    def issue(request, body: bytes):
        login = request.headers["Authorization"].removeprefix("Basic ")
        sent["login"] = base64.b64decode(login).decode()
        sent.update({name: value for name, (value,) in parse_qs(body.decode()).items()})
        return code, answer

    with serving(issue) as url:
        oidc = {"token_url": f"{url}/token", "client_id": "lidr", **more}
        source = token_source(Kubeflow(oidc=oidc))
        assert source
        return source(), sent


def test_a_token_with_other_scopes_than_asked_for_is_taken():
    token, sent = fetched(GRANTED | {"scope": "profile email"}, scope="openid  kubeflow")
    assert (token, sent["scope"]) == ("a-token", "openid kubeflow")


def test_the_line_s_end_of_a_secret_or_token_is_not_sent(monkeypatch):
    assert fetched(GRANTED)[1]["login"] == "lidr:s3cret"
    monkeypatch.setenv("LIDR_KFP_TOKEN", "a-token\r\n")
    source = token_source(Kubeflow())
    assert source and source() == "a-token"


@pytest.mark.parametrize("token", ["two\nlines", "t\u00f6ken"])
def test_a_token_that_no_header_can_hold_is_refused(monkeypatch, token: str):
    monkeypatch.setenv("LIDR_KFP_TOKEN", token)
    source = token_source(Kubeflow())
    with pytest.raises(BadInput, match=r"the token from \$LIDR_KFP_TOKEN holds a line break"):
        assert source and source()


@pytest.mark.parametrize(
    "answer",
    [
        [1],
        None,
        "<html>log in</html>",
        '"x"',
        {},
        GRANTED | {"access_token": None},
        GRANTED | {"access_token": ""},
        GRANTED | {"expires_in": "soon"},
        '{"access_token": "t", "expires_in": 1e999}',
    ],
)
def test_an_answer_that_holds_no_token_is_no_token_endpoint_s(answer: Any):
    with pytest.raises(BadInput, match="does not answer as a token endpoint does") as caught:
        fetched(answer)
    assert not isinstance(caught.value, Unavailable)


@pytest.mark.parametrize("code", [408, 429, 503])
def test_an_identity_provider_with_too_much_to_do_is_unavailable(code: int):
    with pytest.raises(Unavailable, match=f"HTTP {code}"):
        fetched({"error": "slow_down"}, code)


def test_a_refusal_of_the_identity_provider_is_quoted_in_one_line():
    with pytest.raises(BadInput, match="gives no token: invalid client") as caught:
        fetched({"error": "invalid\nclient"}, 401)
    assert "LIDR_KFP_CLIENT_SECRET" in caught.value.remedy


def test_plain_http_is_for_tests_and_says_so(monkeypatch):
    monkeypatch.delenv("OAUTHLIB_INSECURE_TRANSPORT")
    with pytest.raises(BadInput, match="is not https") as caught:
        fetched(GRANTED)
    assert "SECRET" not in str(caught.value)


def test_an_unreadable_token_of_a_pod_is_not_blamed_on_the_profile(monkeypatch, tmp_path: Path):
    file = tmp_path / "token"
    file.write_bytes(b"\xff")
    monkeypatch.setattr(tokens, "POD_TOKEN", file)
    for settings, blamed in ((Kubeflow(), False), (Kubeflow(token_file=str(file)), True)):
        source = token_source(settings)
        with pytest.raises(BadInput, match="token cannot be read") as caught:
            assert source and source()
        assert ("token_file" in caught.value.remedy) is blamed
