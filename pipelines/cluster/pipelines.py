"""Pipelines and their versions in Kubeflow: uploaded once, then found by their digest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.core.digest import digest_of_bytes
from lidr.pipelines.cluster.client import Client, create_or_find, name_filter


@dataclass(frozen=True)
class Package:
    """A compiled pipeline with its names in Kubeflow.

    Attributes:
        pipeline: name of the pipeline, from the recipe.
        text: the compiled pipeline (KFP's IR YAML).
        description: for both, pipeline and version.
    """

    pipeline: str
    text: str
    description: str

    @property
    def version(self) -> str:
        """Name of the version; it ends in the text's digest, as a version cannot be changed."""
        return f"{self.pipeline}-{digest_of_bytes(self.text.encode())[:12]}"


def find_version(client: Client, package: Package) -> Any | None:
    """Return the uploaded version, or None if there is none."""
    pipeline = _pipeline(client, package.pipeline)
    return None if pipeline is None else _version(client, pipeline.pipeline_id, package.version)


def upload(client: Client, package: Package) -> Any:
    """Return the pipeline version of a package, uploaded now if there is none."""
    pipeline = _pipeline(client, package.pipeline) or _create_pipeline(client, package)
    found = _version(client, pipeline.pipeline_id, package.version)
    return found or _upload_version(client, package, pipeline.pipeline_id)


def _pipeline(client: Client, name: str) -> Any | None:
    return client.call_or_none(
        f"look for pipeline {name}",
        client.pipelines.pipeline_service_get_pipeline_by_name,
        name,
        **client.in_namespace,
    )


def _version(client: Client, pipeline_id: str, name: str) -> Any | None:
    listed = client.list_all(
        f"list the versions of pipeline {pipeline_id}",
        "pipeline_versions",
        client.pipelines.pipeline_service_list_pipeline_versions,
        pipeline_id,
        filter=name_filter(name, "name"),
    )
    return next(listed, None)


def _create_pipeline(client: Client, package: Package) -> Any:
    from kfp_server_api import V2beta1Pipeline

    body = V2beta1Pipeline(
        name=package.pipeline,
        display_name=package.pipeline,
        description=package.description,
        namespace=client.namespace or None,
    )
    return create_or_find(
        lambda: client.call(
            f"create pipeline {package.pipeline}",
            client.pipelines.pipeline_service_create_pipeline,
            body,
        ),
        lambda: _pipeline(client, package.pipeline),
    )


def _upload_version(client: Client, package: Package, pipeline_id: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(package.text, encoding="utf-8")
        return create_or_find(
            lambda: client.call(
                f"upload pipeline version {package.version}",
                client.uploads.upload_pipeline_version,
                str(file),
                name=package.version,
                pipelineid=pipeline_id,
                description=package.description,
            ),
            lambda: _version(client, pipeline_id, package.version),
        )
