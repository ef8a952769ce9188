"""A bundle's images: their list with digests, and archives that `docker load` reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.store.base import Store
from lidr.pipelines.checks.images import registry_digest

_LIST = "images.txt"
_UNKNOWN = "unknown"
_TOOLS = ("skopeo", "podman", "docker")
_REGISTRY_SECONDS = 20.0


def find_tool() -> str:
    """Return the first tool of `_TOOLS` that is installed.

    Raises:
        BadInput: none is installed.
    """
    for name in _TOOLS:
        if shutil.which(name):
            return name
    raise BadInput(
        "--archives needs skopeo, podman or docker; none is installed",
        remedy="Install one, or leave --archives out.",
    )


def list_images(store: Store, images: Sequence[str], folder: Path) -> dict[str, str]:
    """Add images to the bundle's list; return the whole list: each image's digest, or `unknown`.

    A listed digest that the registry does not report now is kept only if its archive is there.

    Args:
        store: the bundle.
        images: to be added.
        folder: of the archives.
    """
    listed = {}
    if store.exists(_LIST):
        lines = store.read(_LIST).decode("utf-8", "replace").splitlines()
        listed = {image: digest for image, _, digest in (line.partition(" ") for line in lines)}
    with report_wait("waiting for the registries to report the images' digests"):
        for image in images:
            before = listed.get(image, _UNKNOWN)
            kept = before if (folder / _archive_name(image, before)).exists() else _UNKNOWN
            listed[image] = registry_digest(image, _REGISTRY_SECONDS) or kept
            if listed[image] == _UNKNOWN:
                _tell(
                    f"no registry reports the digest of {image}; {_LIST} calls it unknown, and "
                    "--archives saves the image anew each time"
                )
    store.write(_LIST, "".join(f"{image} {listed[image]}\n" for image in listed).encode())
    return listed


def save_images(tool: str, images: Sequence[str], listed: Mapping[str, str], folder: Path) -> None:
    """Save images as archives with their digests in their names.

    An archive of an unknown digest is made again: its tag may have moved.

    Args:
        tool: skopeo, podman or docker.
        images: to be saved.
        listed: each image's digest, or `unknown`; also for the images of other profiles.
        folder: of the archives.

    Raises:
        BadInput: the tool cannot save one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.part"):  # files of a process that was killed
        left.unlink(missing_ok=True)
    archives = {image: folder / _archive_name(image, digest) for image, digest in listed.items()}
    for image in images:
        archive = archives[image]
        if archive.exists() and "@" in archive.name:
            continue
        _tell(f"saving {image} with {tool}")
        part = archive.with_suffix(".part")
        try:
            _save(tool, image, listed[image], part)
            part.replace(archive)
        finally:
            part.unlink(missing_ok=True)
        before = folder / _archive_name(image, _UNKNOWN)
        for old in {before, *folder.glob(f"{before.stem}@*.tar")} - {*archives.values()}:
            old.unlink(missing_ok=True)  # if loaded later, it would move the tag back


def _tell(message: str) -> None:
    print(f"lidr: {message}", file=sys.stderr, flush=True)


def _archive_name(image: str, digest: str) -> str:
    pinned = "@" in image or digest == _UNKNOWN
    name = image if pinned else f"{image}@{digest}"
    return f"{name.replace('/', '_').replace(':', '_')}.tar"


def _save(tool: str, image: str, digest: str, archive: Path) -> None:
    source = _source(image, digest)
    name = "" if "@" in image else image  # an archive can name a tag, but no digest
    if tool == "skopeo":
        target = f"docker-archive:{archive}" + (f":{name}" if name else "")
        _run([tool, "copy", f"docker://{source}", target], image)
        return
    _pull(tool, source, image)
    if name and source != name:
        _run([tool, "tag", source, name], image)
    _run([tool, "save", "--output", str(archive), name or source], image)


def _source(image: str, digest: str) -> str:
    """Return the reference to pull an image by: with its digest if known, as the tag may move.

    The tag is left out if there is a digest: skopeo refuses references with both.
    """
    name, _, own = image.partition("@")
    digest = own or digest
    if digest == _UNKNOWN:
        return name
    parent, slash, last = name.rpartition("/")  # a port may follow the registry's host
    return f"{parent}{slash}{last.partition(':')[0]}@{digest}"


def _pull(tool: str, source: str, image: str) -> None:
    """Pull an image; one that cannot be pulled may be on this machine, built here."""
    try:
        _run([tool, "pull", source], image)
    except BadInput as error:
        found = subprocess.run([tool, "image", "inspect", source], capture_output=True)
        if found.returncode:
            raise
        _tell(f"{error.message}; saving the image on this machine instead")


def _run(command: list[str], image: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise BadInput(
            f"{command[0]} cannot {command[1]} {image}: {said}",
            remedy="See its message. Often: no login at the registry, no running docker, or a full "
            "disk.",
        )
