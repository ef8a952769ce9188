"""How the Kubernetes API is reached: the user's kubeconfig, or a pod's service account."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from yaml import YAMLError

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes.runs import own_namespace


def connect(*, pod_first: bool = False) -> str:
    """Configure the Kubernetes client from the kubeconfig, or else the pod's service account.

    Args:
        pod_first: whether to use the account where there is one, else the kubeconfig.

    Returns:
        The namespace that the kubeconfig or the account names.

    Raises:
        BadInput: there is neither, the kubeconfig cannot be read or used, or its login plugin
            fails.
    """
    ways = (_as_pod, _as_user) if pod_first else (_as_user, _as_pod)
    for connect_as in ways:
        if namespace := connect_as():
            return namespace
    raise BadInput(
        "no access to a Kubernetes cluster: neither a kubeconfig nor a pod's account",
        remedy="Set $KUBECONFIG, or run this in a pod with a service account's token.",
    )


def _as_pod() -> str:
    from kubernetes import config

    with suppress(config.ConfigException):
        config.load_incluster_config()
        return own_namespace()
    return ""


def _as_user() -> str:
    from kubernetes import config

    given = config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    remedy = "Correct the file, or set $KUBECONFIG to another."
    try:
        config.load_kube_config()
        _, active = config.list_kube_config_contexts()
        if plugin := _failed_plugin(active["context"].get("user", "")):
            raise BadInput(
                f"its login plugin `{plugin}` gives no credentials",
                file=_kubeconfig(given),
                remedy="Install it, or log in again; `kubectl auth whoami` shows why it fails.",
            )
        return str(active["context"].get("namespace") or "default")
    except config.ConfigException as error:
        if file := _kubeconfig(given):  # the pod's account may be another cluster's
            what = f"cannot be used: {one_line(str(error))}"
            raise BadInput(what, file=file, remedy=remedy) from error
        return ""
    except (YAMLError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        what = f"is no kubeconfig ({type(error).__name__})"
        raise BadInput(what, file=given, remedy=remedy) from error


def _failed_plugin(user: str) -> str:
    """Return the command that should give a user's credentials, if it did not; else "".

    The client logs such a failure, and then sends its requests without credentials.
    """
    from kubernetes import client, config

    settings = client.Configuration.get_default_copy()
    if settings.api_key or settings.cert_file:
        return ""
    files = config.kube_config
    merged = files.KubeConfigMerger(files.KUBE_CONFIG_DEFAULT_LOCATION).config
    found = merged["users"].get_with_name(user, safe=True)
    plugin = found["user"].safe_get("exec") if found else None
    return str(plugin["command"]) if plugin else ""


def _kubeconfig(given: str) -> str:
    """Return the first existing file of a list as in $KUBECONFIG; "" if there is none."""
    files = (path for path in given.split(os.pathsep) if path)
    return next((path for path in files if Path(path).expanduser().is_file()), "")
