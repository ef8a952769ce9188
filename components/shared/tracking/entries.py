"""The outbox's entries, each with data to log to MLflow; validated when they are read back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import RECORD_REMEDY, Fields, read_object

PLACE = re.compile(r"run|\d{1,9}-[a-z_-]+")
"""`run` for the whole run, `<iteration>-<step>` for a stage."""

Metric = tuple[str, float, int]
"""Name, value, step."""


@dataclass(frozen=True)
class Dataset:
    """A stage's input, as an MLflow dataset.

    Attributes:
        name: of the input, e.g. `pairs`.
        uri: of its stage.
        digest: of its stage.
        context: what it was used for.
    """

    name: str
    uri: str
    digest: str
    context: str


@dataclass(frozen=True)
class Artifact:
    """A file to be shown in MLflow.

    Attributes:
        key: on the store.
        path: among the MLflow run's artifacts.
    """

    key: str
    path: str


@dataclass(frozen=True)
class TrackingEntry:
    """Data for MLflow that is delivered together.

    The time is fixed when the entry is written: MLflow keeps only one of equal metrics, so
    delivering the entry twice is harmless.

    Attributes:
        place: the run or stage it is about; see `outbox`.
        name: unique in its place.
        time: of the event, in milliseconds since 1970.
        tags: by name.
        params: the stage's settings and inputs.
        metrics: of the stage alone, such as training curves.
        headline: metrics that the iteration and the whole run show too, with t as their step.
        datasets: the stage's inputs.
        artifacts: files.
    """

    place: str
    name: str
    time: int
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    headline: Sequence[Metric] = ()
    datasets: Sequence[Dataset] = ()
    artifacts: Sequence[Artifact] = ()

    @staticmethod
    def parse(data: bytes, file: str = "") -> TrackingEntry:
        """Return the entry in a file of the outbox; `file` is its URI, for messages.

        Raises:
            BadInput: it is not as lidr writes it.
        """
        raw = read_object(data, file, _FIELDS, remedy=RECORD_REMEDY)
        try:
            if unknown := sorted(set(raw) - set(_FIELDS)):
                raise ValueError(f"unknown field {unknown[0]!r}")
            _require(bool(PLACE.fullmatch(raw["place"])), "place")
            _require(0 <= raw["time"] < 1 << 63, "time")
            for name in ("tags", "params"):
                _require(all(isinstance(value, str) for value in raw[name].values()), name)
            rows = {name: [_metric(row) for row in raw[name]] for name in ("metrics", "headline")}
            parts: dict[str, Any] = {
                "datasets": [Dataset(**_texts(row)) for row in raw["datasets"]],
                "artifacts": [Artifact(**_texts(row)) for row in raw["artifacts"]],
            }
            _require(not any(_escapes(each.path) for each in parts["artifacts"]), "artifacts")
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"not an entry of lidr for MLflow ({error})",
                file=file,
                remedy=RECORD_REMEDY,
            ) from error
        return TrackingEntry(**{**raw, **rows, **parts})


_FIELDS: Fields = {
    **dict.fromkeys(("place", "name"), str),
    "time": int,
    **dict.fromkeys(("tags", "params"), dict),
    **dict.fromkeys(("metrics", "headline", "datasets", "artifacts"), list),
}


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"wrong {name}")


def _metric(row: Any) -> Metric:
    whole = isinstance(row, list) and [type(part) for part in row] in (
        [str, float, int],
        [str, int, int],
    )
    _require(whole, "metrics")
    name, value, at = row
    _require(abs(at) < 1 << 63 and (isinstance(value, float) or abs(value) < 1 << 63), "metrics")
    return name, float(value), at


def _texts(row: Any) -> dict[str, str]:
    _require(isinstance(row, dict) and all(isinstance(value, str) for value in row.values()), "row")
    texts: dict[str, str] = row
    return texts


def _escapes(name: str) -> bool:
    """Return whether an artifact would be written outside of its folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name or not path.name
