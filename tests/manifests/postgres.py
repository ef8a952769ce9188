"""A PostgreSQL of the distribution, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

needs_postgres = pytest.mark.skipif(
    not _FOUND, reason="no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql"
)


def _as_user(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


@contextmanager
def postgres(user: str, password: str, database: str) -> Iterator[Path]:
    """Start a server on a socket alone; give the socket's folder, which PGHOST may be."""
    programs = _FOUND[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="lidr-pg-", dir="/tmp"))  # socket paths must be short
    secret = folder / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        for path in (folder, secret):
            shutil.chown(path, "postgres")
    data = str(folder / "data")
    initdb = [str(programs / "initdb"), "-D", data, "-U", user, f"--pwfile={secret}"]
    initdb += ["--auth=scram-sha-256", "--no-sync"]
    server = [str(programs / "postgres"), "-D", data, "-k", str(folder), "-h", "", "-F"]
    with (folder / "log").open("w") as log:
        subprocess.run(_as_user(*initdb), stdout=log, stderr=log, check=True)
        process = subprocess.Popen(_as_user(*server), stdout=log, stderr=log)
    try:
        _create(programs, folder, user, password, database)
        yield folder
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _create(programs: Path, folder: Path, user: str, password: str, database: str) -> None:
    environment = {**os.environ, "PGHOST": str(folder), "PGUSER": user, "PGPASSWORD": password}
    ready = [str(programs / "pg_isready"), "--timeout=1"]
    for _ in range(60):
        if subprocess.run(ready, env=environment, stdout=subprocess.DEVNULL).returncode == 0:
            break
    subprocess.run([str(programs / "createdb"), database], env=environment, check=True)
