"""Whether a profile's images are on the nodes, or in their registries (OCI distribution spec)."""

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

import urllib3
from urllib3.exceptions import HTTPError

from lidr.components.shared.config.profile import Profile
from lidr.pipelines.checks.api import ClusterApi, Denied
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown

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
_LOGIN = "https://index.docker.io/v1/"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Reference:
    """An image's place.

    Attributes:
        registry: host, with its port.
        repository: name in it.
        tag: or digest.
    """

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, image: str) -> Reference:
        """Read `registry/repository:tag@digest`, with Docker Hub's short forms."""
        name, _, digest = image.partition("@")
        first, slash, rest = name.partition("/")
        if not slash or not (set(".:") & set(first) or first == "localhost"):
            first, rest = _DOCKER, name if slash else f"library/{name}"
        repository, colon, tag = rest.rpartition(":")
        if not colon:
            repository, tag = rest, "latest"
        return cls(_DOCKER if first == "docker.io" else first, repository, digest or tag)

    @property
    def name(self) -> str:
        """In full, as nodes list it."""
        registry = "docker.io" if self.registry == _DOCKER else self.registry
        mark = "@" if self.tag.startswith("sha256:") else ":"
        return f"{registry}/{self.repository}{mark}{self.tag}"

    @property
    def url(self) -> str:
        """Of the manifest; plain HTTP on this machine alone, as docker does it."""
        scheme = "http" if self.registry.rpartition(":")[0] in _LOCAL else "https"
        return f"{scheme}://{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def findings(inputs: CheckInputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield whether each image can be had; registries are asked side by side."""
    images, nodes = images_of(inputs.profile), _on_nodes(api)
    with ThreadPoolExecutor(len(images)) as pool:
        yield from pool.map(partial(_finding, nodes, seconds=inputs.request_seconds), images)


def _on_nodes(api: ClusterApi) -> list[set[str]]:
    """Return each node's images by all their names: those that were brought there, or pulled."""
    if not api.is_reached():
        return []
    try:
        nodes = list(api.each("/api/v1/nodes"))
    except Denied:
        return []
    listed = [node.get("status", {}).get("images") or [] for node in nodes]
    return [{name for image in found for name in image.get("names") or []} for found in listed]


def images_of(profile: Profile) -> list[str]:
    """Return the images that a profile names, each once."""
    named = [*dict(profile.images).values(), profile.training.image]
    return list(dict.fromkeys(image for image in named if image))


def _finding(nodes: list[set[str]], image: str, seconds: float) -> Finding:
    """Return whether every node has an image, or else the registry."""
    name, reference = f"image {image}", Reference.parse(image)
    have = sum(reference.name in node for node in nodes)
    if have and have == len(nodes):
        return ok(name, f"on {'the node' if have == 1 else f'all {have} nodes'}")
    found = _in_registry(name, image, reference, seconds)
    if not have or found.state == "ok":
        return found
    told = f"on {have} of {len(nodes)} nodes; {found.detail}"
    return Finding(name, found.state, told, found.remedy)


def _in_registry(name: str, image: str, reference: Reference, seconds: float) -> Finding:
    try:
        status = _ask(reference, seconds)
    except (HTTPError, ValueError) as error:
        told = f"{reference.registry} is not reached from here ({type(error).__name__})"
        return unknown(name, told, f"docker manifest inspect {image}, from where it is reached")
    if status == 200:
        return ok(name, "by digest" if "@" in image else "by a tag, which may move")
    if status == 404:
        told = f"{reference.registry} has no {reference.repository} with {reference.tag}"
        remedy = (
            "Push it (make images, images/README.md) or bring it to the nodes (make kind), "
            "or correct images in the profile."
        )
        return missing(name, told, remedy)
    if status in (401, 403):
        known = "the login known here" if _login(reference.registry) else "no login known here"
        told = f"{reference.registry} wants another login than {known} (HTTP {status})"
        return unknown(name, told, f"docker login {reference.registry}; the nodes may have one")
    return unknown(name, f"{reference.registry} answers with HTTP {status}", "Ask again later.")


def _ask(reference: Reference, seconds: float) -> int:
    """Return the status of a HEAD for the manifest, with a token where one is asked for."""
    with urllib3.PoolManager(timeout=seconds, retries=urllib3.Retry(2, connect=0, read=0)) as pool:
        answer = pool.request("HEAD", reference.url, headers={"Accept": _MANIFESTS})
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status != 401 or not challenge:
            return answer.status
        login = _login(reference.registry)
        if not challenge.lower().startswith("bearer"):
            authorization = f"Basic {login}" if login else ""
        else:
            authorization = f"Bearer {_token(pool, challenge, login)}"
        headers = {"Accept": _MANIFESTS, "Authorization": authorization}
        return pool.request("HEAD", reference.url, headers=headers).status


def _token(pool: Any, challenge: str, login: str) -> str:
    """Fetch a token to pull with: anonymous where there is no login."""
    asked = dict(_CHALLENGE.findall(challenge))
    realm = asked.pop("realm", "")
    if urlsplit(realm).scheme not in ("http", "https"):
        raise ValueError(f"no realm in {challenge!r}")
    query = urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
    headers = {"Authorization": f"Basic {login}"} if login else {}
    answer = pool.request("GET", f"{realm}?{query}", headers=headers)
    try:
        found = json.loads(answer.data)
    except ValueError:
        return ""
    return str(found.get("token") or found.get("access_token") or "")


def _login(registry: str) -> str:
    """Return the login of docker's configuration, in base64, or ""; no helper is started."""
    folder = Path(os.environ.get("DOCKER_CONFIG", "~/.docker")).expanduser()
    try:
        known = json.loads((folder / "config.json").read_bytes()).get("auths", {})
    except (OSError, ValueError, AttributeError):
        return ""
    names = (registry, f"https://{registry}", *((_LOGIN,) if registry == _DOCKER else ()))
    for name in names:
        entry = known.get(name)
        if isinstance(entry, dict) and (auth := entry.get("auth")):
            return auth if _is_base64(auth) else ""
    return ""


def _is_base64(text: object) -> bool:
    try:
        base64.b64decode(str(text), validate=True)
    except ValueError:
        return False
    return True
