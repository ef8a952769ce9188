"""Known vulnerabilities of every package that the images' locks pin: what `make audit` runs.

pip-audit asks OSV (https://osv.dev), and exits with 0 even if that fails; here it is a failure.
Exit status: 0 none are known, 1 some are, 2 OSV gave no answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from images.build import ROOT

LOCKS = sorted((ROOT / "images").glob("*/*.lock"))

_OPTIONS = (
    *("--strict", "--require-hashes", "--disable-pip", "--vulnerability-service", "osv"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "30"),
)


class AuditFailed(Exception):
    """pip-audit gave no answer."""


def main(arguments: Sequence[str]) -> int:
    """Audit every lock with the pip-audit at `arguments[0]`; return the exit status."""
    worst = 0
    for lock in LOCKS:
        try:
            checked, known = audit(arguments[0], lock)
        except AuditFailed as error:
            print(f"{_name(lock)}: cannot be audited: {error}", file=sys.stderr)
            print("Run this where api.osv.dev can be reached.", file=sys.stderr)
            return 2
        print(f"{_name(lock)}: {checked} packages, {len(known)} known vulnerabilities")
        for line in known:
            print(f"  {line}")
        worst = max(worst, bool(known))
    return worst


def audit(program: str, lock: Path) -> tuple[int, list[str]]:
    """Return how many packages of a lock were looked up, and the vulnerabilities, a line each.

    Raises:
        AuditFailed: there is no answer, or not for every package.
    """
    command = [program, *_OPTIONS, "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise AuditFailed(f"{program}: {error.strerror}") from error
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        *_, words = done.stderr.strip().splitlines() or ["pip-audit prints nothing"]
        raise AuditFailed(words[:300]) from error
    if left := [each["name"] for each in found if "skip_reason" in each]:
        raise AuditFailed(f"no answer about {', '.join(left)}")
    known = [
        f"{each['name']} {each['version']}: {flaw['id']} {', '.join(flaw.get('aliases', []))}, "
        f"fixed in {', '.join(flaw.get('fix_versions', [])) or 'no version yet'}"
        for each in found
        for flaw in each["vulns"]
    ]
    return len(found), known


def _name(lock: Path) -> str:
    return lock.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
