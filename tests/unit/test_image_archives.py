"""A bundle's images: listed with digests, saved once a digest, and what hinders it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines import bundle, image_archives
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.image_archives import find_tool, list_images, save_images
from tests.fakes import make_recipe

IMAGE = "r.example.org:5000/lidr/train:1"
NAME = "r.example.org:5000/lidr/train"
OLD, NEW = (f"sha256:{digit * 64}" for digit in "12")
UNKNOWN = "r.example.org_5000_lidr_train_1.tar"


class Tool:
    """A docker, podman or skopeo that notes its commands: the only program on the PATH.

    A command whose text contains one of `failing` fails after it has begun to write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.use("docker")

    def use(self, name: str, *failing: str) -> None:
        for old in self.folder.glob("*"):
            old.unlink()
        fail = 'echo "no space left on device" >&2; exit 1'
        script = self.folder / name
        lines = (
            "#!/bin/sh",
            f'echo "$*" >> {self.log}',
            'if [ "$1" = save ]; then echo x > "$3"; fi',
            "file=${3#docker-archive:}",
            'if [ "$1" = copy ]; then echo x > "${file%%.part*}.part"; fi',
            *(f'case "$*" in *"{each}"*) {fail};; esac' for each in failing),
        )
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o755)

    @property
    def commands(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def tool(tmp_path: Path, monkeypatch) -> Tool:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Tool(folder)


def saved(folder: Path, monkeypatch, digest: str, image: str = IMAGE) -> list[str]:
    """List and save an image that its registry has under a digest; return the archives' names."""
    archives = folder / "images"
    monkeypatch.setattr(image_archives, "registry_digest", lambda image, seconds: digest)
    listed = list_images(LocalStore(folder), [image], archives)
    save_images(find_tool(), [image], listed, archives)
    return sorted(path.name for path in archives.iterdir())


def archive(digest: str) -> str:
    return f"r.example.org_5000_lidr_train_1@{digest.replace(':', '_')}.tar"


def test_an_image_is_saved_once_a_digest(tool, tmp_path, monkeypatch, capsys):
    assert saved(tmp_path / "b", monkeypatch, OLD) == [archive(OLD)]
    assert capsys.readouterr().err == f"lidr: saving {IMAGE} with docker\n"
    assert saved(tmp_path / "b", monkeypatch, OLD) == [archive(OLD)]
    assert saved(tmp_path / "b", monkeypatch, "") == [archive(OLD)], "as images.txt has it"
    assert capsys.readouterr().err == ""


def test_an_archive_of_a_moved_tag_is_replaced(tool, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    assert saved(tmp_path / "b", monkeypatch, NEW) == [archive(NEW)]
    assert (tmp_path / "b" / "images.txt").read_text() == f"{IMAGE} {NEW}\n"


def test_an_image_of_unknown_digest_is_saved_again(tool, tmp_path, monkeypatch, capsys):
    for _ in range(2):
        assert saved(tmp_path / "b", monkeypatch, "") == [UNKNOWN]
        unknown, saving = capsys.readouterr().err.splitlines()
        assert unknown.startswith(f"lidr: no registry reports the digest of {IMAGE}; images.txt ")
        assert saving == f"lidr: saving {IMAGE} with docker"
    assert saved(tmp_path / "b", monkeypatch, NEW) == [archive(NEW)]


def test_an_archive_holds_the_digest_of_its_name(tool, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    pull, tag, save = tool.commands
    assert pull == f"pull {NAME}@{OLD}", "its tag may have moved since the registry was asked"
    assert tag == f"tag {NAME}@{OLD} {IMAGE}"
    assert save.startswith("save --output ") and save.endswith(f".part {IMAGE}")


def test_an_old_digest_without_its_archive_is_unknown(tool, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    (tmp_path / "b" / "images" / archive(OLD)).unlink()
    assert saved(tmp_path / "b", monkeypatch, "") == [UNKNOWN]
    assert (tmp_path / "b" / "images.txt").read_text() == f"{IMAGE} unknown\n"
    assert f"pull {IMAGE}" in tool.commands


@pytest.mark.parametrize("image", [f"{IMAGE}@{OLD}", f"{NAME}@{OLD}"])
@pytest.mark.parametrize("name", ["skopeo", "docker"])
def test_a_tag_beside_a_digest_is_dropped(tool, tmp_path, monkeypatch, image, name):
    tool.use(name)
    (file,) = saved(tmp_path / "b", monkeypatch, OLD, image)
    part = tmp_path / "b" / "images" / file.replace(".tar", ".part")
    if name == "skopeo":
        assert tool.commands == [f"copy docker://{NAME}@{OLD} docker-archive:{part}"]
    else:
        assert tool.commands == [f"pull {NAME}@{OLD}", f"save --output {part} {NAME}@{OLD}"]


def test_skopeo_copies_by_digest_and_names_the_tag(tool, tmp_path, monkeypatch):
    tool.use("skopeo")
    assert saved(tmp_path / "b", monkeypatch, OLD) == [archive(OLD)]
    (copy,) = tool.commands
    assert copy.startswith(f"copy docker://{NAME}@{OLD} docker-archive:")
    assert copy.endswith(f".part:{IMAGE}")


def test_an_image_built_here_is_saved_without_a_registry(tool, tmp_path, monkeypatch, capsys):
    tool.use("docker", "pull ")
    assert saved(tmp_path / "b", monkeypatch, "") == [UNKNOWN]
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"lidr: docker cannot pull {IMAGE}: no space left on device; "
        "saving the image on this machine instead"
    )
    assert f"image inspect {IMAGE}" in tool.commands
    tool.use("docker", "pull ", "inspect ")
    with pytest.raises(BadInput, match=r"docker cannot pull r\.") as caught:
        saved(tmp_path / "b", monkeypatch, "")
    assert caught.value.remedy.startswith("See its message")


@pytest.mark.parametrize(("name", "verb"), [("docker", "save"), ("skopeo", "copy")])
def test_a_failed_save_leaves_nothing(tool, tmp_path, monkeypatch, name, verb):
    folder = tmp_path / "b" / "images"
    folder.mkdir(parents=True)
    (folder / "killed.part").write_text("x")
    tool.use(name, f"{verb} ")
    with pytest.raises(BadInput, match=rf"{name} cannot {verb} r\..*no space left on device"):
        saved(tmp_path / "b", monkeypatch, OLD)
    assert [*folder.iterdir()] == []


def test_the_list_keeps_the_images_of_other_profiles(tool, tmp_path, monkeypatch):
    saved(tmp_path / "b", monkeypatch, OLD)
    assert len(saved(tmp_path / "b", monkeypatch, OLD, "lidr/other:2")) == 2
    assert (tmp_path / "b" / "images.txt").read_text() == f"{IMAGE} {OLD}\nlidr/other:2 {OLD}\n"


def test_pack_looks_for_a_tool_before_it_fetches(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="needs skopeo, podman or docker; none is installed"):
        bundle.pack(
            make_recipe(),
            read_profile("local"),
            tmp_path / "b",
            archives=True,
            advance=lambda _: None,
        )
    assert not (tmp_path / "b").exists()
