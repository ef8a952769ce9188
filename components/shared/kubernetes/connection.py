"""How the Kubernetes API is reached: the user's kubeconfig, or a pod's service account."""

from __future__ import annotations

from pathlib import Path

from yaml import YAMLError

from lidr.components.shared.core.errors import BadInput

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect() -> str:
    """Configure the Kubernetes client from the kubeconfig, or else the pod's service account.

    Returns:
        The namespace that either names.

    Raises:
        BadInput: there is neither, or the kubeconfig cannot be read.
    """
    from kubernetes import config

    try:
        config.load_kube_config()
        _, active = config.list_kube_config_contexts()
        return str(active["context"].get("namespace") or "default")
    except config.ConfigException:
        pass
    except (YAMLError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise BadInput(
            f"is no kubeconfig ({type(error).__name__})",
            file=config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION,
            remedy="Correct the file, or set $KUBECONFIG to another.",
        ) from error
    try:
        config.load_incluster_config()
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise BadInput(
            "no access to a Kubernetes cluster: neither a kubeconfig nor a pod's account",
            remedy="Set $KUBECONFIG, or run it in a pod with a service account's token.",
        ) from error
