"""What the outbox holds: entries, each one thing to tell MLflow, read back with suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import Fields, read_object

Metric = tuple[str, float, int]
"""Name, value, step."""


@dataclass(frozen=True)
class Dataset:
    """Data that a stage has read, by its digest and URI.

    Attributes:
        name: what it is.
        uri: where it is.
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
        key: where it is on the store.
        path: its path among the MLflow run's artifacts.
    """

    key: str
    path: str


@dataclass(frozen=True)
class TrackingEntry:
    """One thing to tell MLflow. Its times are fixed when it is written: MLflow keeps one of equal
    metrics, so that telling it twice is harmless.

    Attributes:
        place: whom it is about.
        name: unique in its place.
        time: when it happened, in milliseconds since 1970.
        tags: facts.
        params: what the stage was given.
        metrics: of the stage alone, such as training curves.
        headline: what the iteration and the whole run show too, at the iteration's step.
        datasets: what the stage has read.
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
        """Return the entry that a file of the outbox holds.

        Args:
            data: the file.
            file: where it is, for the message.

        Raises:
            BadInput: it is not as lidr writes it.
        """
        raw = read_object(data, file, _FIELDS)
        try:
            if set(raw) != set(_FIELDS):
                raise ValueError(f"it has {', '.join(sorted(raw))}")
            for name in ("tags", "params"):
                _require(all(isinstance(value, str) for value in raw[name].values()), name)
            rows = {name: [_metric(row) for row in raw[name]] for name in ("metrics", "headline")}
            parts: dict[str, Any] = {
                "datasets": [Dataset(**_texts(row)) for row in raw["datasets"]],
                "artifacts": [Artifact(**_texts(row)) for row in raw["artifacts"]],
            }
            _require(not any(_leaves(each.path) for each in parts["artifacts"]), "artifacts")
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"not a note of lidr for MLflow ({error})",
                file=file,
                remedy="Restore it, or move it away.",
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


def _leaves(place: str) -> bool:
    """Tell whether an artifact would be written outside of its folder."""
    path = PurePosixPath(place)
    return path.is_absolute() or ".." in path.parts or "\0" in place or not path.name
