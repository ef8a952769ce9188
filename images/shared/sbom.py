"""Write the image's bill of materials (CycloneDX JSON): its Python packages and the distribution's.

Runs in the build stage, with the interpreter of the build tools: `sbom.py NAME VERSION`.
cyclonedx-py lists the Python packages; Debian's are added from dpkg's list.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

_ENVIRONMENT = "/opt/lidr"
_PLACE = Path("/opt/lidr/share/sbom.cdx.json")


def main(name: str, version: str) -> None:
    """Write the bill of an image that holds `/opt/lidr` and this stage's distribution."""
    bill = _python_packages()
    bill["components"] += _distribution_packages(Path("/var/lib/dpkg/status").read_text("utf-8"))
    bill["metadata"]["component"] = {
        "type": "container",
        "bom-ref": f"image:{name}",
        "name": f"lidr/{name}",
        "version": version,
    }
    _PLACE.parent.mkdir(parents=True, exist_ok=True)
    _PLACE.write_text(json.dumps(bill, indent=1, sort_keys=True), "utf-8")


def _python_packages() -> dict[str, Any]:
    command = ["environment", "--output-reproducible", "--of", "JSON", f"{_ENVIRONMENT}/bin/python"]
    done = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command], stdout=subprocess.PIPE, check=True
    )
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def _distribution_packages(status: str) -> Iterator[dict[str, str]]:
    for block in status.strip().split("\n\n"):
        package = Parser().parsestr(block)
        name, version, kind = package["Package"], package["Version"], package["Architecture"]
        url = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={kind}"
        yield {
            "type": "library",
            "bom-ref": url,
            "name": name,
            "version": version,
            "purl": url,
        }


if __name__ == "__main__":
    main(*sys.argv[1:])
