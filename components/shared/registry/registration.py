"""Registers models: creates a version for each model digest, and the folder of its audit log."""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import Any
from urllib.parse import quote

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.names import key_fault
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.versions import (
    DIGEST_TAG,
    REGISTERED_TAG,
    RegisteredModel,
    find_version,
    read_model,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.lease import exclusive
from lidr.components.shared.store.open import is_missing_folder, open_store

AUDIT_LOG_TAG = "lidr.audit_log"
"""Tag of a registered model: URI of the folder with its lease and its audit entries."""

_TAG_SECONDS = 1.0
"""How long we wait for others that set the same missing tag."""


def ensure_version(
    client: Any, name: str, source: str, tags: Mapping[str, str], run_id: str, audit_log: str
) -> int:
    """Return the number of the oldest version with this model digest, created if there is none.

    No files are copied: MLflow stores their URI. Only the owner of the lease creates a version.
    Still, two can appear (the lease ran out while the process was suspended, or a proxy repeated
    the request), so we search again: the smallest number stays, and whoever made another deletes
    it.

    Args:
        client: of MLflow.
        name: name of the registered model, which is created if it is missing.
        source: URI of the model's files.
        tags: the version's tags, DIGEST_TAG among them. REGISTERED_TAG is left out: a copy has its
            own date.
        run_id: id of the MLflow run with its metrics; "" for none.
        audit_log: URI of the folder for lease and audit entries if the model has none yet.
    """
    digest = tags[DIGEST_TAG]
    home = ensure_model(client, name, audit_log)
    if (known := find_version(client, name, digest)) is not None:
        return known
    with exclusive(home):
        if (known := find_version(client, name, digest)) is not None:
            return known
        own = {key: value for key, value in tags.items() if key != REGISTERED_TAG}
        made = client.create_model_version(
            name, source=source, run_id=run_id or None, tags=own, await_creation_for=0
        )
        number = int(made.version)
        winner = find_version(client, name, digest) or number
        if number != winner:
            client.delete_model_version(name, str(number))
        return winner


def ensure_model(client: Any, name: str, audit_log: str) -> Store:
    """Return the folder with a registered model's lease and audit entries; create a missing model.

    Everybody must use the same folder, so its URI is a tag of the registered model, which is
    created with `audit_log`. If it was created without one, see `audit_log_of`.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={AUDIT_LOG_TAG: audit_log})
        return open_store(audit_log)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return audit_log_of(client, read_model(client, name), audit_log)


def audit_log_of(client: Any, model: RegisteredModel, default: str) -> Store:
    """Return the folder named by a registered model's tag, which is set to `default` if missing.

    The tag is missing in a model that lidr did not create. MLflow overwrites a tag without asking:
    of several writers the last one wins, so the tag is read again after a second. If a writer takes
    longer between reading and setting it, there are still two folders, whose leases do not exclude
    each other.
    """
    known = _audit_log_tag(model)
    if not known and not (known := _audit_log_tag(read_model(client, model.name))):
        with wrap_mlflow_errors(client, f"registered model {model.name!r}"):
            client.set_registered_model_tag(model.name, AUDIT_LOG_TAG, default)
        sleep(_TAG_SECONDS)
        known = _audit_log_tag(read_model(client, model.name)) or default
    return open_audit_log(model.name, known)


def _audit_log_tag(model: RegisteredModel) -> str:
    return model.tags.get(AUDIT_LOG_TAG, "")


def open_audit_log(name: str, uri: str) -> Store:
    """Return the folder with a registered model's lease and audit entries.

    Raises:
        BadInput: it is in a local store that does not exist.
    """
    root = uri.rpartition("/registry/")[0]
    if is_missing_folder(root):
        raise BadInput(
            f"the audit log of {name!r} is at {uri}, and there is no folder {root}",
            remedy=f"Restore it, or set the registered model's tag {AUDIT_LOG_TAG}.",
        )
    return open_store(uri)


def default_audit_log(store: str, name: str) -> str:
    """Return the URI of the folder with a model's lease and audit entries, below a store.

    Raises:
        BadInput: the name cannot be a folder's.
    """
    folder = quote(name, safe="")
    if fault := key_fault(folder):
        raise BadInput(f"registered model {name!r} {fault}", remedy="Give it another name.")
    return f"{store.rstrip('/')}/registry/{folder}"
