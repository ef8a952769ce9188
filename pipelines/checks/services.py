"""The cluster's Services: which hosts are theirs, and how to reach one from this machine."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit


def is_service(host: str, namespaces: Iterable[str]) -> bool:
    """Return whether a host name is taken for a Service's.

    Such a name has no dot, or ends in `.svc`, `.cluster.local` or a dot and one of the namespaces.
    """
    ends = (".svc", ".cluster.local", *(f".{name}" for name in namespaces if name))
    name = host.removesuffix(".")
    return name.endswith(ends) or (bool(name) and "." not in name and ":" not in name)


def port_forward(url: str, namespace: str) -> tuple[str, str]:
    """Return the command that forwards to a Service, and the address that it then has here."""
    place = urlsplit(url)
    service, _, end = (place.hostname or "").partition(".")
    port = place.port or (443 if place.scheme == "https" else 80)
    here = port if port >= 1024 else 8000 + port  # only root may listen on the lower ones
    forwarded = f"{port}" if here == port else f"{here}:{port}"
    where = f" -n {own}" if (own := end.partition(".")[0] or namespace) else ""
    return (
        f"kubectl{where} port-forward svc/{service} {forwarded}",
        f"{place.scheme}://localhost:{here}",
    )
