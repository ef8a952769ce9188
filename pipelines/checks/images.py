"""Whether the nodes or registries have the images that a profile names."""

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
from urllib3.exceptions import MaxRetryError

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
_LOCAL = ("localhost", "127.0.0.1", "::1")
_DOCKER_LOGIN = "https://index.docker.io/v1/"
_MAX_REDIRECTS = 2


@dataclass(frozen=True)
class ImageReference:
    """An image's address.

    Attributes:
        registry: host of the registry, with its port if the address has one.
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
    def is_local(self) -> bool:
        """Whether the registry is on this machine."""
        return urlsplit(f"//{self.registry}").hostname in _LOCAL

    @property
    def url(self) -> str:
        """The manifest's URL; plain HTTP only for a registry on this machine, as docker does."""
        scheme = "http" if self.is_local else "https"
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
    except (requests.RequestException, ValueError):
        return ""
    if answer.status_code != 200:
        return ""
    return str(answer.headers.get("Docker-Content-Digest", ""))


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
    """Return whether a registry or every node has an image; new nodes pull it from the registry."""
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
        status = _manifest(reference, seconds).status_code
    except (requests.RequestException, ValueError) as error:
        detail = f"{reference.registry} is not reached from here ({cause_of(error)})"
        return unknown(name, detail, f"docker manifest inspect {image}, where you can reach it")
    if status == 200:
        return ok(name, "by digest" if "@" in image else "by a tag, which may move")
    if status == 404:
        detail = f"{reference.registry} has no {reference.repository} with {reference.tag}"
        remedy = (
            "Push it (make images, images/README.md) or bring it to the nodes (make kind), "
            "or correct its name in the profile."
        )
        return missing(name, detail, remedy)
    if status in (401, 403):
        return _refused(name, image, reference.registry, status)
    return unknown(name, f"{reference.registry} answers with HTTP {status}", "Ask again later.")


def _refused(name: str, image: str, registry: str, status: int) -> Finding:
    login = _login(registry)
    if not login and _has_helper(registry):
        detail = f"{registry} wants a login (HTTP {status}), which is in a credential helper that "
        detail += "is not started here; or the image does not exist"
        return unknown(name, detail, f"docker manifest inspect {image}")
    what = "the login known here" if login else "requests without a login"
    detail = f"{registry} refuses {what} (HTTP {status}): the image is private, or does not exist"
    host = "" if registry == _DOCKER else f" {registry}"
    return unknown(name, detail, f"docker login{host}; the nodes may have a login")


def _manifest(reference: ImageReference, seconds: float) -> requests.Response:
    """Return the answer to a HEAD for the manifest, with a token where the registry wants one.

    `requests` reads HTTPS_PROXY and NO_PROXY; as in docker, no proxy is used for this machine.
    """
    with requests.Session() as session:
        session.trust_env = not reference.is_local
        session.auth = lambda request: request  # else a login in ~/.netrc would replace docker's
        session.max_redirects = _MAX_REDIRECTS
        session.verify = os.environ.get("SSL_CERT_FILE") or True  # as for endpoints
        ask = partial(session.head, reference.url, timeout=seconds, allow_redirects=True)
        answer = ask(headers={"Accept": _MANIFESTS})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status_code != 401 or not challenge:
            return answer
        login = _login(reference.registry)
        if not challenge.lower().startswith("bearer"):
            authorization = f"Basic {login}" if login else ""
        else:
            authorization = f"Bearer {_token(session, challenge, login, seconds)}"
        return ask(headers={"Accept": _MANIFESTS, "Authorization": authorization})


def _token(session: requests.Session, challenge: str, login: str, seconds: float) -> str:
    """Fetch a token to pull with; an anonymous one if there is no login."""
    wanted = dict(_CHALLENGE.findall(challenge))
    realm = wanted.pop("realm", "")
    if urlsplit(realm).scheme not in ("http", "https"):
        raise ValueError(f"no realm in {challenge!r}")
    query = urlencode({key: wanted[key] for key in ("service", "scope") if key in wanted})
    headers = {"Authorization": f"Basic {login}"} if login else {}
    answer = session.get(f"{realm}?{query}", headers=headers, timeout=seconds)
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return ""
    known = body if isinstance(body, dict) else {}
    return str(known.get("token") or known.get("access_token") or "")


def _login(registry: str) -> str:
    """Return the login in docker's configuration, in base64, or ""; starts no credential helper."""
    known = _docker_settings("auths")
    for name in _login_names(registry):
        entry = known.get(name)
        if isinstance(entry, dict) and (auth := entry.get("auth")):
            try:
                base64.b64decode(str(auth), validate=True)
            except ValueError:
                return ""
            return str(auth)
    return ""


def _has_helper(registry: str) -> bool:
    """Return whether docker keeps the login of a registry in a credential helper."""
    helpers = _docker_settings("credHelpers")
    known = _docker_settings("auths") if _docker_config().get("credsStore") else {}
    return any(name in known or helpers.get(name) for name in _login_names(registry))


def _login_names(registry: str) -> tuple[str, ...]:
    docker = (_DOCKER_LOGIN, "docker.io") if registry == _DOCKER else ()
    return (registry, f"https://{registry}", *docker)


def _docker_settings(key: str) -> dict[str, Any]:
    settings = _docker_config().get(key)
    return settings if isinstance(settings, dict) else {}


def _docker_config() -> dict[str, Any]:
    """Return docker's configuration; {} where there is none, or it is damaged."""
    folder = Path(os.environ.get("DOCKER_CONFIG", "~/.docker")).expanduser()
    try:
        known = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def cause_of(error: BaseException) -> str:
    """Return the class name of the network error that requests and urllib3 have wrapped."""
    wrapped = isinstance(error, requests.ConnectionError) and error.args
    inner = error.args[0] if wrapped else error
    reason = inner.reason if isinstance(inner, MaxRetryError) else inner
    return type(reason if isinstance(reason, BaseException) else error).__name__
