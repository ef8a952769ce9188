"""Whether other servers have what a run needs: images, and models behind an endpoint."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.cluster.api import ClusterApi

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DOCKER = "registry-1.docker.io"
_DOCKER_LOGIN = "https://index.docker.io/v1/"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class ImageReference:
    """An image's address.

    Attributes:
        registry: its host, and port if there is one.
        repository: the image's name in the registry.
        tag: its tag or digest.
    """

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, image: str) -> ImageReference:
        """Read `registry/repository:tag@digest`, with Docker Hub's short forms."""
        name, _, digest = image.partition("@")
        first, slash, rest = name.partition("/")
        if not slash or not (set(".:") & set(first) or first == "localhost"):
            first, rest = "docker.io", name
        if first in ("docker.io", "index.docker.io"):
            first, rest = _DOCKER, rest if "/" in rest else f"library/{rest}"
        repository, colon, tag = rest.rpartition(":")
        if not colon:
            repository, tag = rest, "latest"
        return cls(first, repository, digest or tag)

    @property
    def name(self) -> str:
        """The full name, as nodes list it."""
        registry = "docker.io" if self.registry == _DOCKER else self.registry
        mark = "@" if self.tag.startswith("sha256:") else ":"
        return f"{registry}/{self.repository}{mark}{self.tag}"

    @property
    def url(self) -> str:
        """The manifest's URL; plain HTTP only for a registry on this machine, as docker does."""
        scheme = "http" if self.registry.rpartition(":")[0] in _LOCAL else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def images_findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield whether each image is on the nodes, or in its registry (OCI distribution spec)."""
    profile = inputs.profile
    images = images_of(profile)
    check = partial(_image, _on_nodes(api), seconds=inputs.request_seconds)
    with ThreadPoolExecutor(len(images)) as pool:
        yield from pool.map(check, images)


def images_of(profile: Profile) -> list[str]:
    """Return the images that a profile names, each once."""
    named = [*dict(profile.images).values(), profile.training.image]
    return list(dict.fromkeys(image for image in named if image))


def registry_digest(image: str, seconds: float) -> str:
    """Return the digest that a registry has under an image's name; "" if it cannot be read."""
    reference = ImageReference.parse(image)
    if reference.tag.startswith("sha256:"):
        return reference.tag
    try:
        answer = _manifest(reference, seconds)
    except (HTTPError, ValueError):
        return ""
    return str(answer.headers.get("Docker-Content-Digest", "")) if answer.status == 200 else ""


def _on_nodes(api: ClusterApi) -> list[set[str]]:
    """Return the names of the images on each node; [] where the nodes cannot be listed."""
    if not api.is_reached():
        return []
    try:
        nodes = list(api.items("/api/v1/nodes"))
    except LidrError:
        return []
    listed = [node.get("status", {}).get("images") or [] for node in nodes]
    return [{name for image in images for name in image.get("names") or []} for images in listed]


def _image(nodes: list[set[str]], image: str, seconds: float) -> Finding:
    """Return whether a registry or every node has an image; nodes that are added need the first."""
    name, reference = f"image {image}", ImageReference.parse(image)
    have = sum(reference.name in node for node in nodes)
    finding = _in_registry(name, image, reference, seconds)
    if have and have == len(nodes):
        detail = f"on {'the node' if have == 1 else f'all {have} nodes'}"
        if finding.state == "missing":
            lacks = f"{detail} now, but not in its registry: new nodes cannot pull it"
            return unknown(name, lacks, finding.remedy)
        return ok(name, detail)
    if not have or finding.state == "ok":
        return finding
    detail = f"on {have} of {len(nodes)} nodes; {finding.detail}"
    return Finding(name, finding.state, detail, finding.remedy)


def _in_registry(name: str, image: str, reference: ImageReference, seconds: float) -> Finding:
    try:
        status = _manifest(reference, seconds).status
    except (HTTPError, ValueError) as error:
        detail = f"{reference.registry} is not reached from here ({_cause(error)})"
        return unknown(name, detail, f"docker manifest inspect {image}, from where it is reached")
    if status == 200:
        return ok(name, "by digest" if "@" in image else "by a tag, which may move")
    if status == 404:
        detail = f"{reference.registry} has no {reference.repository} with {reference.tag}"
        remedy = (
            "Push it (make images, images/README.md) or bring it to the nodes (make kind), "
            "or correct images in the profile."
        )
        return missing(name, detail, remedy)
    if status in (401, 403):
        what = "the login known here" if _login(reference.registry) else "requests without a login"
        detail = (
            f"{reference.registry} refuses {what} (HTTP {status}): "
            "the image is private, or does not exist"
        )
        host = "" if reference.registry == _DOCKER else f" {reference.registry}"
        return unknown(name, detail, f"docker login{host}; the nodes may have a login")
    return unknown(name, f"{reference.registry} answers with HTTP {status}", "Ask again later.")


def _manifest(reference: ImageReference, seconds: float) -> Any:
    """Return the answer to a HEAD for the manifest, with a token where the registry wants one."""
    retries = urllib3.Retry(2, connect=0, read=0, respect_retry_after_header=False)
    with urllib3.PoolManager(timeout=seconds, retries=retries) as pool:
        answer = pool.request("HEAD", reference.url, headers={"Accept": _MANIFESTS})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != 401 or not challenge:
            return answer
        login = _login(reference.registry)
        if not challenge.lower().startswith("bearer"):
            authorization = f"Basic {login}" if login else ""
        else:
            authorization = f"Bearer {_token(pool, challenge, login)}"
        headers = {"Accept": _MANIFESTS, "Authorization": authorization}
        return pool.request("HEAD", reference.url, headers=headers)


def _token(pool: Any, challenge: str, login: str) -> str:
    """Fetch a token to pull with; an anonymous one if there is no login."""
    wanted = dict(_CHALLENGE.findall(challenge))
    realm = wanted.pop("realm", "")
    if urlsplit(realm).scheme not in ("http", "https"):
        raise ValueError(f"no realm in {challenge!r}")
    query = urlencode({key: wanted[key] for key in ("service", "scope") if key in wanted})
    headers = {"Authorization": f"Basic {login}"} if login else {}
    answer = pool.request("GET", f"{realm}?{query}", headers=headers)
    try:
        body = json.loads(answer.data)
    except ValueError:
        return ""
    known = body if isinstance(body, dict) else {}
    return str(known.get("token") or known.get("access_token") or "")


def _login(registry: str) -> str:
    """Return the login in docker's configuration, in base64, or ""; starts no credential helper."""
    folder = Path(os.environ.get("DOCKER_CONFIG", "~/.docker")).expanduser()
    try:
        known = dict(json.loads((folder / "config.json").read_bytes())["auths"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    names = (registry, f"https://{registry}", *((_DOCKER_LOGIN,) if registry == _DOCKER else ()))
    for name in names:
        entry = known.get(name)
        if isinstance(entry, dict) and (auth := entry.get("auth")):
            try:
                base64.b64decode(str(auth), validate=True)
            except ValueError:
                return ""
            return str(auth)
    return ""


def _cause(error: Exception) -> str:
    """Return the class of a network error: of what urllib3 and requests wrap, if they do."""
    inner = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else error
    reason = inner.reason if isinstance(inner, MaxRetryError) else None
    return type(reason or error).__name__


@dataclass(frozen=True)
class _Endpoint:
    """A server with the OpenAI API.

    Attributes:
        name: the recipe's section that names the model.
        model: its name.
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
    """Yield whether the servers list under `/models` the model that is named."""
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
        detail = f"the key in {variable} holds a line break, or what no HTTP header may hold"
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
        detail = f"{url} does not answer ({_cause(error)})"
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
    except (ValueError, KeyError, TypeError):
        return None
