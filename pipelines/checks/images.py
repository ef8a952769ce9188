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
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_DOCKER_LOGIN = "https://index.docker.io/v1/"


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
        detail = f"{reference.registry} is not reached from here ({cause_of(error)})"
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


def cause_of(error: BaseException) -> str:
    """Return the class of a network error: of the one behind urllib3's, if there is one."""
    reason = error.reason if isinstance(error, MaxRetryError) else None
    return type(reason or error).__name__
