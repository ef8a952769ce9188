"""Registered models and their versions, as MLflow has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lidr.components.shared.core.errors import BadInput, RegistryFailed
from lidr.components.shared.models.outside import ADAPTER_TAG, ModelLocation
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors

DIGEST_TAG = "lidr.model_digest"
"""Digest of the stage that holds the version's model. If several versions have the same digest, the
oldest is used."""

VERDICT_TAG = "lidr.gate_verdict"
"""The gate's decision: promote, keep or stop; `start` for M_0, which no gate judges."""

PARENT_TAG = "lidr.parent_version"
"""The version it was trained from, as `<registered model>/<number>`."""

COPIED_FROM_TAG = "lidr.copied_from"
"""Of a copy: registry and version that it was copied from; of a copy of a copy, the whole chain,
oldest first."""

REGISTERED_TAG = "lidr.registered"
"""When a version was registered, if `lidr relocate` recreated it: MLflow gave it a new date."""

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a registered model.

    Attributes:
        name: name of the registered model.
        number: the version number, from 1.
        source: URI of the files.
        tags: its tags, e.g. `lidr.iteration`.
        aliases: the aliases that point at it, sorted.
        run_id: id of the MLflow run with its metrics; "" without one.
        created: when it was registered, in UTC.
    """

    name: str
    number: int
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    run_id: str
    created: datetime

    @property
    def label(self) -> str:
        """The version as steps pass it on: `<registered model>/<number>`."""
        return f"{self.name}/{self.number}"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model: its aliases with the versions they point at, and its tags."""

    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str]

    def aliases_of(self, number: int) -> tuple[str, ...]:
        """Return the aliases of a version, sorted."""
        return tuple(sorted(alias for alias, at in self.aliases.items() if at == number))


def files_of(version: Version) -> ModelLocation:
    """Return where a version's files are, and those of its adapter."""
    return ModelLocation(version.source, version.tags.get(ADAPTER_TAG, ""))


def read_model(client: Any, name: str) -> RegisteredModel:
    """Return a registered model.

    Raises:
        BadInput: there is none of this name. Other errors: see wrap_mlflow_errors.
    """
    with wrap_mlflow_errors(client, f"registered model {name!r}"):
        found = client.get_registered_model(name)
        aliases = {alias: int(number) for alias, number in found.aliases.items()}
        return RegisteredModel(name, aliases, dict(found.tags))


def read_version(client: Any, name: str, ref: str) -> Version:
    """Return a version by its number (`3`) or by an alias (`@champion`).

    Raises:
        BadInput: there is no such model, version or alias.
    """
    model = read_model(client, name)
    number = _resolve_ref(model, ref)
    remedy = f"See `lidr history {name}`."
    with wrap_mlflow_errors(client, f"version {number} of {name!r}", remedy=remedy):
        return _version(client.get_model_version(name, str(number)), model)


def model_names(client: Any) -> list[str]:
    """Return the names of all registered models.

    Raises:
        LidrError: see wrap_mlflow_errors.
    """
    pages = _all_pages(
        lambda token: client.search_registered_models(max_results=_PAGE, page_token=token)
    )
    with wrap_mlflow_errors(client, "registered models"):
        return [str(found.name) for found in pages]


def all_versions(client: Any, name: str) -> list[Version]:
    """Return every version of a registered model, by number.

    Raises:
        BadInput: there is none of this name. Other errors: see wrap_mlflow_errors.
    """
    model = read_model(client, name)
    with wrap_mlflow_errors(client, f"registered model {name!r}"):
        found = [_version(entity, model) for entity in _search(client, f"name = {_quoted(name)}")]
    return sorted(found, key=lambda version: version.number)


def find_version(client: Any, name: str, digest: str) -> int | None:
    """Return the number of the oldest version with a model digest, or None."""
    query = f"name = {_quoted(name)} and tags.`{DIGEST_TAG}` = '{digest}'"
    with wrap_mlflow_errors(client, f"versions of {name!r}"):
        numbers = [int(entity.version) for entity in _search(client, query)]
    return min(numbers, default=None)


def version_text(number: int | None) -> str:
    """Return where an alias points, in words."""
    return "nowhere" if number is None else f"version {number}"


def _resolve_ref(model: RegisteredModel, ref: str) -> int:
    alias = ref.removeprefix("@")
    if ref.startswith("@"):
        if alias in model.aliases:
            return model.aliases[alias]
        known = ", ".join(f"@{each}" for each in sorted(model.aliases))
        raise BadInput(
            f"{model.name!r} has no alias {alias!r}",
            remedy=f"Its aliases are {known}." if known else "It has none yet.",
        )
    if ref.isascii() and ref.isdigit() and int(ref):
        return int(ref)
    raise BadInput(
        f"{ref!r} is no version of {model.name!r}", remedy="Give a number, or @ and an alias."
    )


def _version(entity: Any, model: RegisteredModel) -> Version:
    number = int(entity.version)
    return Version(
        name=model.name,
        number=number,
        source=str(entity.source),
        tags=dict(entity.tags),
        aliases=model.aliases_of(number),
        run_id=str(entity.run_id or ""),
        created=_registered_at(entity),
    )


def _registered_at(entity: Any) -> datetime:
    with suppress(ValueError, OverflowError):  # anybody may have changed the tag
        first = datetime.fromisoformat(entity.tags.get(REGISTERED_TAG, ""))
        if first.tzinfo:
            return first.astimezone(UTC)
    return datetime.fromtimestamp(entity.creation_timestamp / 1000, UTC)


def _search(client: Any, query: str) -> Iterator[Any]:
    return _all_pages(
        lambda token: client.search_model_versions(query, max_results=_PAGE, page_token=token)
    )


def _all_pages(page_at: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the items of all pages of a listing; stops with an error if MLflow repeats a page."""
    token, seen = None, set()
    while True:
        page = page_at(token)
        yield from page
        token = page.token
        if not token:
            return
        if token in seen:
            raise RegistryFailed(
                "MLflow gives the same page again and again",
                remedy="Check the server's version, and any proxy in front of it.",
            )
        seen.add(token)


def _quoted(name: str) -> str:
    """Return a name as a literal of MLflow's search language, which has no escapes."""
    if "'" not in name:
        return f"'{name}'"
    if '"' not in name:
        return f'"{name}"'
    raise BadInput(
        f"registered model {name!r} cannot be searched for: it holds both kinds of quotes",
        remedy="Rename it.",
    )
