"""What launcher and nodes tell each other: files in `launch/` of the stage, on the store.

The job goes one way; the summary, or each failed node's reason, comes back. Pods, their logs and
the TrainJob may vanish at any time, and these do not.
"""

from __future__ import annotations

import json

from pydantic import BaseModel, ValidationError

from components.shared.errors import BadInput
from components.shared.stage import Stage
from components.shared.store import open_store
from components.train.launchers.failure import Failure, cause
from components.train.trainer import Job, Summary

FOLDER = "launch"


class Exchange:
    """The files of one training run.

    Args:
        stage: the train stage being written.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._store = stage.store

    def publish(self, job: Job) -> None:
        """Write the job, and forget how earlier attempts failed."""
        for key in self._failures():
            self._store.delete(key)
        self._write("job.json", job)

    def job(self) -> Job:
        """Return the job.

        Raises:
            BadInput: there is none, or another version of the program wrote it.
        """
        try:
            return Job.model_validate_json(self._store.read(self._key("job.json")))
        except FileNotFoundError as error:
            raise BadInput(
                f"no job at {self._stage.uri}",
                remedy="Give the nodes a store that they can reach, e.g. s3://bucket/prefix.",
            ) from error
        except ValidationError as error:
            raise BadInput(
                f"the job at {self._stage.uri} is of another version ({error})",
                remedy="Use one image for the train step and the nodes.",
            ) from error

    def succeed(self, summary: Summary) -> None:
        """Write what the training run counted: its model is complete."""
        self._write("summary.json", summary)

    def summary(self) -> Summary | None:
        """Return what the training run counted, or None while there is nothing."""
        try:
            return Summary.model_validate_json(self._store.read(self._key("summary.json")))
        except FileNotFoundError:
            return None

    def fail(self, failure: Failure) -> None:
        """Write why a node failed."""
        self._write(f"failure-{failure.node}.json", failure)

    def failure(self) -> Failure | None:
        """Return the cause of the failures so far, or None."""
        found = [json.loads(self._store.read(key)) for key in self._failures()]
        return cause([Failure.model_validate(each) for each in found]) if found else None

    def clear(self) -> None:
        """Delete the files: a finished stage holds none of them."""
        for entry in self._store.list(self._stage.key(FOLDER)):
            self._store.delete(entry.key)

    def _failures(self) -> list[str]:
        start = self._key("failure-")
        listing = self._store.list(self._stage.key(FOLDER))
        return [entry.key for entry in listing if entry.key.startswith(start)]

    def _write(self, name: str, content: BaseModel) -> None:
        self._store.write(self._key(name), content.model_dump_json().encode())

    def _key(self, name: str) -> str:
        return self._stage.key(f"{FOLDER}/{name}")


def exchange_of(job: Job) -> Exchange:
    """Return the exchange of a job's stage."""
    return Exchange(Stage(open_store(job.store), job.stage))
