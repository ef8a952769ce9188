"""The aliases of a registered model's versions, where MLflow is reachable."""

from __future__ import annotations

from collections import defaultdict

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.tracking import client_at, tracking_uri
from lidr.components.shared.tracking.database import database_file


def aliases_of(store: str, model: str) -> tuple[dict[str, list[str]], str]:
    """Return the aliases of each version, or why they are not known.

    Args:
        store: URI of the store; a local tracking database is beside it.
        model: the registered model's name.

    Returns:
        Aliases by "<model>/<version>", and "" or a reason.
    """
    try:
        uri = tracking_uri(store)
        if (file := database_file(uri)) and not file.is_file():
            return {}, f"there is no tracking database {uri}"
        client = client_at(uri)
        with wrap_mlflow_errors(client, f"registered model {model!r}"):
            registered = client.get_registered_model(model)
    except LidrError as error:
        return {}, error.message
    except ImportError:
        return {}, "MLflow is not installed here"
    by_version: dict[str, list[str]] = defaultdict(list)
    for alias, version in sorted(registered.aliases.items()):
        by_version[f"{model}/{version}"].append(alias)
    return dict(by_version), ""
