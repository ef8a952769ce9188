"""Whether the servers that answer for an engine, or judge, serve the model that is named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

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
        endpoint = recipe.generation.endpoint
        place = ("generation.endpoint", endpoint.url, endpoint.model)
        yield _finding(inputs, *place, ("OPENAI_API_KEY",))
    if recipe.judge:
        judge = recipe.judge.endpoint
        keys = ("LIDR_JUDGE_API_KEY", "OPENAI_API_KEY")
        yield _finding(inputs, "judge.endpoint", judge.url, judge.model, keys)


def _finding(inputs: CheckInputs, name: str, url: str, model: str, keys: Sequence[str]) -> Finding:
    if only_inside(url, inputs.profile):
        told = f"{url} is reached from inside the cluster only"
        return unknown(name, told, f"kubectl port-forward to it, and --set {name}.url=... here")
    key = next((os.environ[key] for key in keys if os.environ.get(key)), "")
    try:
        status, body = _models(url, key, inputs.request_seconds)
    except (HTTPError, ValueError) as error:
        told = f"{url} does not answer ({type(error).__name__})"
        return missing(name, told, f"See that it runs, or correct {name}.url in the recipe.")
    if status in (401, 403):
        return _keyless(inputs, name, url, keys, given=bool(key))
    if status == 404:
        return unknown(name, f"{url} answers, but lists no models", "Try one request by hand.")
    if status >= 500 or status == 429:
        told = f"{url} is up, but cannot do its work (HTTP {status})"
        return missing(name, told, "Look at the server's log and its load.")
    served = _names(body) if status == 200 else None
    if served is None:
        told = f"{url} answers with HTTP {status}, and no list of models"
        return missing(name, told, f"Correct {name}.url: it ends with the version, such as /v1.")
    if _DIGEST in model:
        return ok(name, f"{url} answers; M_t must be served as {model} when it is its turn")
    if model not in served:
        told = f"{url} does not serve {model!r}, but {', '.join(served[:5]) or 'nothing'}"
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
