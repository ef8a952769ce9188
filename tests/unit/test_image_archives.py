"""A bundle's images: listed with digests, saved once a digest, and what hinders it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines import bundle, image_archives
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.image_archives import find_engine, list_images, save_images
from tests.fakes import make_recipe

IMAGE = "r.example.org/lidr/train:1"
OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch) -> Path:
    """A docker that saves its own arguments; return its script, the only program there is."""
    script = tmp_path / "bin" / "docker"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\n[ "$1" = pull ] || echo "$@" > "$3"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    return script


def saved(folder: Path, monkeypatch, digest: str, image: str = IMAGE) -> list[str]:
    """List and save an image that its registry has under a digest; return the archives' names."""
    monkeypatch.setattr(image_archives, "registry_digest", lambda image, seconds: digest)
    listed = list_images(LocalStore(folder), [image])
    save_images(find_engine(), [image], listed, folder / "images")
    return sorted(path.name for path in (folder / "images").iterdir())


def archive(digest: str) -> str:
    return f"r.example.org_lidr_train_1@{digest.replace(':', '_')}.tar"


def test_an_image_is_saved_once_a_digest(engine, tmp_path, monkeypatch, capsys):
    assert saved(tmp_path / "b", monkeypatch, OLD) == [archive(OLD)]
    assert capsys.readouterr().err == f"lidr: saving {IMAGE} with docker\n"
    assert saved(tmp_path / "b", monkeypatch, OLD) == [archive(OLD)]
    assert saved(tmp_path / "b", monkeypatch, "") == [archive(OLD)], "as images.txt has it"
    assert capsys.readouterr().err == ""


def test_an_archive_of_a_moved_tag_is_replaced(engine, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    assert saved(tmp_path / "b", monkeypatch, NEW) == [archive(NEW)]
    assert (tmp_path / "b" / "images.txt").read_text() == f"{IMAGE} {NEW}\n"


def test_an_image_of_unknown_digest_is_saved_again(engine, tmp_path, monkeypatch, capsys):
    for _ in range(2):
        assert saved(tmp_path / "b", monkeypatch, "") == ["r.example.org_lidr_train_1.tar"]
        told = capsys.readouterr().err.splitlines()
        assert told == [
            f"lidr: the digest of {IMAGE} is unknown",
            f"lidr: saving {IMAGE} with docker",
        ]
    assert saved(tmp_path / "b", monkeypatch, NEW) == [archive(NEW)]


def test_the_list_keeps_the_images_of_other_profiles(engine, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    assert len(saved(tmp_path / "b", monkeypatch, OLD, "lidr/other:2")) == 2
    assert (tmp_path / "b" / "images.txt").read_text() == f"{IMAGE} {OLD}\nlidr/other:2 {OLD}\n"


def test_what_the_engine_says_is_passed_on(engine, tmp_path, monkeypatch):
    engine.write_text("#!/bin/sh\necho 'write: no space left on device' >&2\nexit 1\n")
    with pytest.raises(BadInput, match=r"docker cannot save r\..*no space left on device") as told:
        saved(tmp_path / "b", monkeypatch, OLD)
    assert told.value.remedy.startswith("See the message")


def test_pack_looks_for_an_engine_before_it_fetches(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="none of skopeo, podman and docker"):
        bundle.pack(
            make_recipe(),
            read_profile("local"),
            tmp_path / "b",
            archives=True,
            advance=lambda _: None,
        )
    assert not (tmp_path / "b").exists()
