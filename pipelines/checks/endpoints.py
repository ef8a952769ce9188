"""Whether the servers that answer for an engine, or judge, serve the model that is named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError

from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.checks.hosts import only_inside

_DIGEST = "{digest}"


def asked(recipe: Recipe) -> bool:
    """Tell whether a recipe asks any server."""
    return recipe.judge is not None or recipe.generation.engine == "openai"


def findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield what the servers list under `/models`."""
    recipe = inputs.recipe
    if recipe.generation.engine == "openai":
        served = _Served(
            "generation.endpoint",
            recipe.generation.endpoint.model,
            "engine.endpoint.url",
            inputs.profile.engine.endpoint.url,
            ("OPENAI_API_KEY",),
        )
        yield _finding(inputs, served)
    if recipe.judge:
        served = _Served(
            "judge.endpoint",
            recipe.judge.endpoint.model,
            "judge.url",
            inputs.profile.judge.url,
            ("LIDR_JUDGE_API_KEY", "OPENAI_API_KEY"),
        )
        yield _finding(inputs, served)


@dataclass(frozen=True)
class _Served:
    """A model that a server is asked for.

    Attributes:
        name: the recipe's section that names it.
        model: its name.
        key: the profile's key with the server's address.
        url: that address; "" where the profile has none.
        keys: environment variables that may hold the server's key.
    """

    name: str
    model: str
    key: str
    url: str
    keys: tuple[str, ...]


def _finding(inputs: CheckInputs, served: _Served) -> Finding:
    name, model, url, keys = served.name, served.model, served.url, served.keys
    if not url:
        return missing(name, "the profile names no server", f"Set {served.key} in the profile.")
    if only_inside(url, inputs.profile):
        told = f"{url} is reached from inside the cluster only"
        return unknown(name, told, f"kubectl port-forward to it, and set {served.key} to it here")
    key = next((os.environ[key] for key in keys if os.environ.get(key)), "")
    try:
        status, body = _models(url, key, inputs.request_seconds)
    except (HTTPError, ValueError) as error:
        told = f"{url} does not answer ({type(error).__name__})"
        return missing(name, told, f"See that it runs, or correct {served.key} in the profile.")
    if status in (401, 403):
        return _keyless(inputs, name, url, keys, given=bool(key))
    if status == 404:
        return unknown(name, f"{url} answers, but lists no models", "Try one request by hand.")
    if status >= 500 or status == 429:
        told = f"{url} is up, but cannot do its work (HTTP {status})"
        return missing(name, told, "Look at the server's log and its load.")
    listed = _names(body) if status == 200 else None
    if listed is None:
        told = f"{url} answers with HTTP {status}, and no list of models"
        remedy = f"Correct {served.key} in the profile: it ends with the version, such as /v1."
        return missing(name, told, remedy)
    if _DIGEST in model:
        return ok(name, f"{url} answers; M_t must be served as {model} when it is its turn")
    if model not in listed:
        told = f"{url} does not serve {model!r}, but {', '.join(listed[:5]) or 'nothing'}"
        return missing(name, told, f"Serve it under that name, or correct {name}.model.")
    return ok(name, f"{url} serves {model}")


def _models(url: str, key: str, seconds: float) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{url.rstrip('/')}/models"
    answer = urllib3.request("GET", address, headers=headers, timeout=seconds, retries=False)
    return answer.status, answer.data


def _keyless(
    inputs: CheckInputs, name: str, url: str, keys: Sequence[str], *, given: bool
) -> Finding:
    told = f"{url} refuses {'the key' if given else 'requests without a key'}"
    remedy = f"export {keys[0]}=..."
    held = {key for each in inputs.profile.secrets.values() for key in each}
    if inputs.on_cluster and not given and held & set(keys):
        return unknown(name, f"{told}; pods have one, which is not set here", remedy)
    if inputs.on_cluster:
        remedy += f", and name it under secrets in the profile: NAME: [{keys[0]}]"
    return missing(name, told, remedy)


def _names(body: bytes) -> list[str] | None:
    try:
        return [str(each["id"]) for each in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return None
