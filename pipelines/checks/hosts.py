"""Addresses that only pods can reach, and plain requests to servers."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from lidr.components.shared.config.profile import Profile

_SUFFIXES = (".svc", ".svc.cluster.local", ".cluster.local")


def only_inside(url: str, profile: Profile) -> bool:
    """Tell whether an address is that of a cluster's Service, and this process is outside.

    Args:
        url: of a server.
        profile: for Kubeflow; its namespaces are known as ends of names, and a name without an
            end is in the pods' own.
    """
    if profile.runner != "kubeflow" or "KUBERNETES_SERVICE_HOST" in os.environ:
        return False
    host = urlsplit(url).hostname or ""
    ends = [f".{name}" for name in (profile.namespace, profile.kubeflow.namespace) if name]
    if "." in host and not host.endswith((*_SUFFIXES, *ends)):
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return True
    return False  # a tunnel, or a name of the company's own
