"""Whether the servers with the OpenAI API have the models that a run asks for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.checks.images import cause_of


@dataclass(frozen=True)
class _Endpoint:
    """A server with the OpenAI API.

    Attributes:
        name: the recipe's section that names the model.
        model: the model's name.
        key: the profile's key that holds the server's address.
        url: that address; "" if the profile has none.
        variables: environment variables that may hold the server's API key.
    """

    name: str
    model: str
    key: str
    url: str
    variables: tuple[str, ...]


def endpoints_of(inputs: CheckInputs) -> list[_Endpoint]:
    """Return the servers that a run sends requests to."""
    generation, judge, profile = inputs.recipe.generation, inputs.recipe.judge, inputs.profile
    endpoints = []
    if generation.engine == "openai":
        name, key, url = "generation.endpoint", "engine.endpoint.url", profile.engine.endpoint.url
        endpoints.append(_Endpoint(name, generation.endpoint.model, key, url, ("OPENAI_API_KEY",)))
    if judge:
        variables = ("LIDR_JUDGE_API_KEY", "OPENAI_API_KEY")
        model, url = judge.endpoint.model, profile.judge.url
        endpoints.append(_Endpoint("judge.endpoint", model, "judge.url", url, variables))
    return endpoints


def endpoints_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield whether `/models` of each server lists the model that the recipe names."""
    for endpoint in endpoints_of(inputs):
        yield _endpoint(inputs, endpoint)


def _endpoint(inputs: CheckInputs, endpoint: _Endpoint) -> Finding:
    name, model, url = endpoint.name, endpoint.model, endpoint.url
    if not url:
        return missing(name, "the profile names no server", f"Set {endpoint.key} in the profile.")
    if inputs.only_inside(url):
        detail = f"{url} is reached from inside the cluster only"
        remedy = f"kubectl port-forward to it, and set {endpoint.key} to it here"
        return unknown(name, detail, remedy)
    variable = next((each for each in endpoint.variables if os.environ.get(each)), "")
    key = os.environ[variable] if variable else ""
    if not (key.isascii() and key.isprintable()):
        detail = f"the key in {variable} holds a line break, or a character that no header may hold"
        return missing(name, detail, f"Correct {variable}, in the Secret of pods as well.")
    try:
        answer = requests.get(
            f"{url.rstrip('/')}/models",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            auth=lambda request: request,  # else a login in ~/.netrc would replace the key
            timeout=inputs.request_seconds,
            verify=os.environ.get("SSL_CERT_FILE") or True,  # as the client of a run does
        )
    except (OSError, ValueError) as error:
        detail = f"{url} does not answer ({cause_of(error)})"
        remedy = f"See that it runs, or correct {endpoint.key} in the profile."
        return missing(name, detail, remedy)
    status = answer.status_code
    if status in (401, 403):
        return _key_refused(inputs, endpoint, given=bool(key))
    if status == 404:
        return unknown(name, f"{url} answers, but lists no models", "Try one request by hand.")
    if status >= 500 or status == 429:
        detail = f"{url} is up, but cannot do its work (HTTP {status})"
        return missing(name, detail, "Look at the server's log and its load.")
    listed = _model_names(answer.content) if status == 200 else None
    if listed is None:
        detail = f"{url} answers with HTTP {status}, and no list of models"
        remedy = f"Correct {endpoint.key} in the profile: it ends with the version, such as /v1."
        return missing(name, detail, remedy)
    if "{digest}" in model:
        return ok(name, f"{url} answers; it must serve each M_t as {model} in its iteration")
    if model not in listed:
        detail = f"{url} does not serve {model!r}, but {', '.join(listed[:5]) or 'nothing'}"
        return missing(name, detail, f"Serve it under that name, or correct {name}.model.")
    return ok(name, f"{url} serves {model}")


def _key_refused(inputs: CheckInputs, endpoint: _Endpoint, *, given: bool) -> Finding:
    variables = endpoint.variables
    detail = f"{endpoint.url} refuses {'the key' if given else 'requests without a key'}"
    remedy = f"export {variables[0]}=..."
    held = {key for each in inputs.profile.secrets.values() for key in each}
    if inputs.on_cluster and not given and held & set(variables):
        return unknown(endpoint.name, f"{detail}; pods have one, which is not set here", remedy)
    if inputs.on_cluster:
        remedy += f", and name it under secrets in the profile: NAME: [{variables[0]}]"
    return missing(endpoint.name, detail, remedy)


def _model_names(body: bytes) -> list[str] | None:
    try:
        return [str(each["id"]) for each in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
