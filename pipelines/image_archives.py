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
_ENGINES = ("skopeo", "podman", "docker")
_REGISTRY_SECONDS = 20.0


def find_engine() -> str:
    """Return the first of the engines that is installed.

    Raises:
        BadInput: none is.
    """
    for name in _ENGINES:
        if shutil.which(name):
            return name
    raise BadInput(
        "none of skopeo, podman and docker, which save images, is installed",
        remedy="Install one, or leave --archives out.",
    )


def list_images(store: Store, images: Sequence[str]) -> dict[str, str]:
    """Add images to the bundle's list; return all of it, by image the digest or `unknown`."""
    listed = {}
    if store.exists(_LIST):
        lines = store.read(_LIST).decode("utf-8", "replace").splitlines()
        listed = {image: digest for image, _, digest in (line.partition(" ") for line in lines)}
    with report_wait("waiting for the registries to tell the images' digests"):
        for image in images:
            digest = registry_digest(image, _REGISTRY_SECONDS)
            listed[image] = digest or listed.get(image, "unknown")
            if listed[image] == "unknown":
                print(f"lidr: the digest of {image} is unknown", file=sys.stderr, flush=True)
    store.write(_LIST, "".join(f"{image} {listed[image]}\n" for image in listed).encode())
    return listed


def save_images(
    engine: str, images: Sequence[str], listed: Mapping[str, str], folder: Path
) -> None:
    """Save images as archives with their digests in their names.

    An archive of an unknown digest is made again: its tag may have moved.

    Args:
        engine: skopeo, podman or docker.
        images: to be saved.
        listed: by image, of this and of other profiles, its digest or `unknown`.
        folder: of the archives.

    Raises:
        BadInput: the engine cannot save one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archives = {image: folder / _archive_name(image, digest) for image, digest in listed.items()}
    for image in images:
        archive = archives[image]
        if archive.exists() and "@" in archive.name:
            continue
        print(f"lidr: saving {image} with {engine}", file=sys.stderr, flush=True)
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)
        for command in _commands(engine, image, part):
            _run(command, image)
        part.replace(archive)
        before = folder / _archive_name(image, "unknown")
        for old in {before, *folder.glob(f"{before.stem}@*.tar")} - {*archives.values()}:
            old.unlink(missing_ok=True)  # loaded after the new one, it would take the tag back


def _archive_name(image: str, digest: str) -> str:
    pinned = "@" in image or digest == "unknown"
    name = image if pinned else f"{image}@{digest}"
    return f"{name.replace('/', '_').replace(':', '_')}.tar"


def _run(command: list[str], image: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise BadInput(
            f"{command[0]} cannot save {image}: {said}",
            remedy="See the message; log in to the registry, start the engine, free some space, or "
            "correct images in the profile.",
        )


def _commands(engine: str, image: str, archive: Path) -> list[list[str]]:
    if engine == "skopeo":
        name = "" if "@" in image else f":{image}"  # such an archive holds no digest's name
        return [[engine, "copy", f"docker://{image}", f"docker-archive:{archive}{name}"]]
    return [[engine, "pull", image], [engine, "save", "--output", str(archive), image]]
