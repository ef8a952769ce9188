"""Build the images: `python3 images/build.py [NAME...] --engine docker --base local`.

What `make images` calls. Needs an engine (buildah, podman or docker with BuildKit), but not
lidr's environment. `--base local` makes a base image from Debian's packages with mmdebstrap, and
builds the CPU variants on it, without any container registry. `--variant` chooses another one:
`gpu`, `cpu`, or `cuda-torch`, which runs on CPUs with PyPI's torch, if torch's CPU wheels are not
available.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("control", "train", "generate", "mlflow")

SBOM = "/opt/lidr/share/sbom.cdx.json"

VARIANTS = ("gpu", "cpu", "cuda-torch")

_ENGINES = ("buildah", "podman", "docker")
_CPU_LOCK, _MIXED_LOCK = "requirements-cpu.lock", "requirements-cuda-torch.lock"
_CUDA_PACKAGES = re.compile(r"torch|triton|(nvidia|cuda)-.*")
"""Names of the packages that torch's CUDA wheel needs, and its own."""
_LOCAL_BASE = "lidr/base:local"
_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates"


def main(arguments: list[str]) -> None:
    """Build the images; write their bills of materials and print their sizes."""
    options = _parse(arguments)
    engine = engine_of(options.engine)
    timestamp = _timestamp()
    base = _make_base(engine, timestamp) if options.base == "local" else options.base
    for name in options.names or NAMES:
        _build(name, engine, base, timestamp, options)
    for name in options.names or NAMES:
        tag = f"{options.prefix}/{name}:{version()}"
        bill = options.sboms / f"{name}.cdx.json"
        _copy_out(engine, tag, SBOM, bill)
        print(f"{tag:40} {_size(engine, tag) / 1e6:8,.0f} MB  {bill}")


def version() -> str:
    """Return lidr's version, which the images carry."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build.py", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"images to build, of {', '.join(NAMES)}; default: all",
    )
    parser.add_argument("--engine", default="", help=f"one of {', '.join(_ENGINES)}, or its path")
    parser.add_argument("--base", default="", help="another base image, or `local`")
    parser.add_argument(
        "--variant", choices=VARIANTS, help="of train and generate; default: cpu on a local base"
    )
    parser.add_argument("--prefix", default="lidr", help="registry and folder of the tags")
    parser.add_argument("--pip-conf", default="", help="pip.conf that the builds use, as a secret")
    parser.add_argument("--ca", default="", help="certificates, in builds at /etc/pip-ca.pem")
    parser.add_argument(
        "--sboms", type=Path, default=Path("build/sbom"), help="folder of the bills"
    )
    parser.add_argument("--flags", default="", help="further flags of the engine's build command")
    options = parser.parse_args(arguments)
    options.variant = options.variant or ("cpu" if options.base == "local" else "gpu")
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no image {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


def engine_of(asked: str) -> str:
    """Return the engine's command: the one asked for, or the first that is installed."""
    if asked and shutil.which(asked) is None:
        raise _refused(f"no engine {asked!r} here", "Install it, or name another with ENGINE=.")
    for name in (asked,) if asked else _ENGINES:
        if shutil.which(name):
            return _docker(name) if Path(name).name == "docker" else name
    raise _refused(f"none of {', '.join(_ENGINES)} is installed", "Install one of them.")


def _docker(name: str) -> str:
    """Return the first docker on the PATH that has BuildKit."""
    folders = os.get_exec_path() if name == "docker" else []
    every = [path for folder in folders if (path := shutil.which(name, path=folder))] or [name]
    for program in every:
        if not (lacking := _without_buildx(program)):
            if program != every[0]:
                print(f"images: {every[0]} has no buildx; {program} is used", file=sys.stderr)
            return program if program != every[0] else name
    raise _refused(
        f"docker {lacking} cannot build without its component buildx",
        "Install it (apt-get install docker-buildx, or docker-buildx-plugin of Docker's own "
        "packages), or name podman or buildah with ENGINE=.",
    )


def _without_buildx(program: str) -> str:
    """Return a docker's version if it lacks buildx, else ""; before 23 BuildKit is built in."""
    version = re.search(r"\d+(\.\d+)+", _stdout_of(program, "--version"))
    if (
        version
        and int(version[0].partition(".")[0]) >= 23
        and not _stdout_of(program, "buildx", "version")
    ):
        return version[0]
    return ""


def _stdout_of(*command: str) -> str:
    """Return a command's output; "" if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def _timestamp() -> int:
    """Return the Unix time of all files in the images: SOURCE_DATE_EPOCH or the last commit's."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _output("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))


def _make_base(engine: str, timestamp: int) -> str:
    """Make the base image from Debian's packages, unless it exists."""
    flags = ("--type", "image") if Path(engine).name == "buildah" else ()
    known = subprocess.run([engine, "inspect", *flags, _LOCAL_BASE], capture_output=True)
    if known.returncode == 0:
        return _LOCAL_BASE
    if shutil.which("mmdebstrap") is None:
        raise _refused("BASE=local needs mmdebstrap", "Install it: apt-get install mmdebstrap.")
    archive = ROOT / "build" / "base.tar"
    archive.parent.mkdir(exist_ok=True)
    _run(
        *("mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(archive)),
        SOURCE_DATE_EPOCH=str(timestamp),
    )
    if Path(engine).name == "buildah":
        container = _output(engine, "from", "scratch")
        _run(engine, "add", "--quiet", container, str(archive), "/")
        _run(
            engine, "commit", "--quiet", "--rm", f"--timestamp={timestamp}", container, _LOCAL_BASE
        )
    else:
        _run(engine, "import", str(archive), _LOCAL_BASE)
    archive.unlink()
    return _LOCAL_BASE


def _build(name: str, engine: str, base: str, timestamp: int, options: argparse.Namespace) -> None:
    values = {
        "REVISION": _revision(),
        "VERSION": version(),
    }
    if base:
        values["BASE"] = base
    if lock := _lock(name, options.variant):
        values["LOCK"] = lock
    command = [engine, "build", "--file", str(ROOT / "images" / name / "Dockerfile")]
    for key, value in values.items():
        command += ["--build-arg", f"{key}={value}"]
    for key, file in (("pip", options.pip_conf), ("ca", options.ca)):
        command += ["--secret", f"id={key},src={file}"] if file else []
    for tag in (version(), "latest"):
        command += ["--tag", f"{options.prefix}/{name}:{tag}"]
    if Path(engine).name == "docker":
        command += ["--build-arg", f"SOURCE_DATE_EPOCH={timestamp}"]  # BuildKit's own
    else:
        command += [f"--timestamp={timestamp}"]
    _run(*command, *options.flags.split(), str(ROOT), DOCKER_BUILDKIT="1")


def _revision() -> str:
    """Return the commit; `-dirty` follows if the images hold something else."""
    git = ("git", "-C", str(ROOT))
    commit = _output(*git, "rev-parse", "HEAD")
    return f"{commit}-dirty" if _output(*git, "status", "--porcelain") else commit


def _lock(name: str, variant: str) -> str:
    """Return the lock of an image's variant; "" for the one in its Dockerfile."""
    if variant == "gpu" or name not in ("train", "generate"):
        return ""
    if variant == "cpu":
        return _CPU_LOCK
    if name == "train":
        return ""
    (ROOT / "images" / name / _MIXED_LOCK).write_text(mixed_lock())
    return _MIXED_LOCK


def mixed_lock() -> str:
    """Return generate's CPU lock with torch and its CUDA packages from train's GPU lock."""
    cpu, gpu = (
        _entries((ROOT / "images" / lock).read_text("utf-8"))
        for lock in (f"generate/{_CPU_LOCK}", "train/requirements.lock")
    )
    cuda = {name: text for name, text in gpu.items() if _CUDA_PACKAGES.fullmatch(name)}
    return "".join(text for _, text in sorted((cpu | cuda).items()))


def _entries(lock: str) -> dict[str, str]:
    """Return a lock's packages with their hashes, by name."""
    found = re.findall(r"^([a-z0-9][^ =]*)(==.*\n(?:    --hash.*\n)+)", lock, re.MULTILINE)
    return {name: name + rest for name, rest in found}


def save(engine: str, tags: list[str], command: list[str]) -> int:
    """Pipe images to a command as an archive; return its exit status, or the engine's."""
    several = ["--multi-image-archive"] if Path(engine).name == "podman" else []
    with subprocess.Popen([engine, "save", *several, *tags], stdout=subprocess.PIPE) as source:
        taken = subprocess.run(command, stdin=source.stdout)
    return taken.returncode or source.returncode


def save_file(engine: str, tag: str, archive: Path) -> None:
    """Write an image to a file, with podman or buildah."""
    _run(engine, "push", tag, f"docker-archive:{archive}:{tag}")


def _copy_out(engine: str, tag: str, source: str, target: Path) -> None:
    """Copy a file out of an image without running it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(engine).name == "buildah":
        container = _output(engine, "from", "--pull=never", tag)
        shutil.copyfile(_output(engine, "mount", container) + source, target)
    else:
        container = _output(engine, "create", "--pull=never", tag)
        _run(engine, "cp", f"{container}:{source}", str(target))
    _run(engine, "rm", container, quiet=True)


def _size(engine: str, tag: str) -> int:
    """Return an image's size in bytes, uncompressed."""
    if Path(engine).name != "buildah":
        return int(_output(engine, "image", "inspect", "--format", "{{.Size}}", tag))
    container = _output(engine, "from", "--pull=never", tag)
    folder = Path(_output(engine, "mount", container))
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    _run(engine, "rm", container, quiet=True)
    return size


def _run(*command: str, quiet: bool = False, **environment: str) -> None:
    out = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=out)
    if done.returncode:
        raise _failed(command, done.returncode)


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise _failed(command, done.returncode)
    return done.stdout.strip()


def _failed(command: tuple[str, ...], code: int) -> SystemExit:
    return _refused(f"{' '.join(command[:2])} exited with {code}", "Its output is above.")


def _refused(message: str, remedy: str) -> SystemExit:
    """Print an error, and return the exception to raise."""
    print(f"images: error: {message}. {remedy}", file=sys.stderr)
    return SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
