"""Shared by the commands on registered models: options, and connecting to MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.registry.evidence import store_of
from lidr.components.shared.registry.registration import (
    AUDIT_LOG_TAG,
    audit_log_of,
    default_audit_log,
)
from lidr.components.shared.registry.versions import all_versions, read_model
from lidr.components.shared.store.open import local_folder
from lidr.components.shared.tracking import client_at, tracking_uri
from lidr.components.shared.tracking.database import database_file
from lidr.pipelines.cli.inputs import not_empty

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store

ModelArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the registered model.")]
HomeOption = Annotated[
    str,
    typer.Option(
        "--store",
        help="Folder or s3://bucket/prefix of the runs; its mlflow.db is used if "
        "MLFLOW_TRACKING_URI is not set.",
        callback=not_empty,
    ),
]
StagesOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Folder or s3://bucket/prefix with its stages. Default: from the registry.",
        callback=not_empty,
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]


def open_registry(store: str) -> Any:
    """Return an `mlflow.MlflowClient` for MLFLOW_TRACKING_URI or, if unset, a store's mlflow.db.

    Raises:
        BadInput: there is no such registry; it is not created.
    """
    return connect(
        tracking_uri(store), remedy="Set MLFLOW_TRACKING_URI, or give the --store of a run."
    )


def connect(uri: str, *, remedy: str = "Correct the address of the registry.") -> Any:
    """Return an `mlflow.MlflowClient` for an existing registry.

    Args:
        uri: its address.
        remedy: the remedy if it does not exist.

    Raises:
        BadInput: `uri` names an SQLite file that does not exist, or `client_at` refuses it.
    """
    if (file := database_file(uri)) and not file.is_file():
        raise BadInput(f"no MLflow database at {file}", remedy=remedy)
    return client_at(uri)


def audit_log_at(client: Any, name: str, store: str) -> Store:
    """Return the folder that holds a registered model's lease and audit log.

    A model without the tag that names this folder gets the tag.

    Args:
        client: an `mlflow.MlflowClient`.
        name: name of the registered model.
        store: URI of the store to use if neither the model nor its versions name one.

    Raises:
        BadInput: there is no such model, or its store is a folder that does not exist.
    """
    model = read_model(client, name)
    if model.tags.get(AUDIT_LOG_TAG):
        return audit_log_of(client, model, "")
    known = [uri for each in all_versions(client, name) if (uri := store_of(each))]
    home = known[-1] if known else store
    folder = local_folder(home)
    if folder is not None and not folder.is_dir():
        raise BadInput(
            f"no store holds the audit log of {name!r}: there is no folder {home}",
            remedy="Restore the store." if known else "Give --store.",
        )
    root = home if folder is None else str(folder.absolute())
    return audit_log_of(client, model, default_audit_log(root, name))
