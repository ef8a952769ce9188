"""The files through which a launcher and the nodes of its TrainJob exchange job and outcome.

They are in `launch/` of the stage being made, on the store. The launcher writes the job; each node
writes a summary, or why it failed. Unlike pods, their logs and the TrainJob, these do not vanish;
they are deleted when the stage is finished.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.kubernetes.failure import RecordedFailure, root_cause
from lidr.components.shared.store.stage import Stage

FOLDER = "launch"
"""Folder of the stage that has the files."""

Job = TypeVar("Job", bound=BaseModel)
Summary = TypeVar("Summary", bound=BaseModel)
Content = TypeVar("Content", bound=BaseModel)


class Exchange(Generic[Job, Summary]):
    """The files of one launch.

    Args:
        stage: the stage being written.
        job: class of the job.
        summary: class of a node's summary.
        folder: folder of the stage, `launch` or one in it: different folders share no file.
    """

    def __init__(
        self, stage: Stage, job: type[Job], summary: type[Summary], folder: str = FOLDER
    ) -> None:
        self._stage = stage
        self._folder = folder
        self._store = stage.store
        self._job = job
        self._summary = summary

    def publish(self, job: Job) -> None:
        """Write the job, and delete the failures of earlier attempts."""
        for key in self._keys("failure-"):
            self._store.delete(key)
        self._write("job.json", job)

    def job(self) -> Job:
        """Return the job.

        Raises:
            BadInput: there is none, or another version of lidr wrote it.
        """
        try:
            return self._read(self._key("job.json"), self._job)
        except FileNotFoundError as error:
            raise BadInput(
                f"no job at {self._stage.uri}",
                remedy="Give the nodes a store that they can reach, e.g. s3://bucket/prefix.",
            ) from error

    def succeed(self, summary: Summary, node: int = 0) -> None:
        """Write a node's summary; in training, node 0 writes one for all."""
        self._write(f"summary-{node}.json", summary)

    def summary(self, node: int = 0) -> Summary | None:
        """Return a node's summary, or None if it is not done."""
        try:
            return self._read(self._key(f"summary-{node}.json"), self._summary)
        except FileNotFoundError:
            return None

    def done(self) -> int:
        """Return how many nodes have written a summary."""
        return len(self._keys("summary-"))

    def fail(self, failure: RecordedFailure) -> None:
        """Write why a node failed."""
        self._write(f"failure-{failure.node}.json", failure)

    def forget_failure(self, node: int) -> None:
        """Delete a node's failure: the node has been started again."""
        self._store.delete(self._key(f"failure-{node}.json"))

    def failure(self) -> RecordedFailure | None:
        """Return the cause of the failures so far, or None."""
        found = []
        for key in self._keys("failure-"):
            with suppress(FileNotFoundError):  # its node has been started again
                found.append(self._read(key, RecordedFailure))
        return root_cause(found) if found else None

    def clear(self) -> None:
        """Delete all files in `launch`: a finished stage has none of them."""
        for entry in self._store.list(self._stage.key(FOLDER)):
            self._store.delete(entry.key)

    def _read(self, key: str, kind: type[Content]) -> Content:
        try:
            return kind.model_validate_json(self._store.read(key))
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join(map(str, found["loc"]))
            fault = f"{where}: {found['msg']}" if where else found["msg"]
            raise BadInput(
                f"{self._store.uri}/{key} is damaged or of another version: {fault}",
                remedy="Use one image for the step and the nodes of its TrainJob.",
            ) from error

    def _keys(self, start: str) -> list[str]:
        listing = self._store.list(self._stage.key(self._folder))
        return [entry.key for entry in listing if entry.key.startswith(self._key(start))]

    def _write(self, name: str, content: BaseModel) -> None:
        self._store.write(self._key(name), content.model_dump_json().encode())

    def _key(self, name: str) -> str:
        return self._stage.key(f"{self._folder}/{name}")
