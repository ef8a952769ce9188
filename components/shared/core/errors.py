"""The exceptions lidr raises on purpose; everything else is a bug and propagates.

LidrError                exit 1   something failed; the message says what and what to do
├── BadInput             exit 2   a recipe, profile, prompt file, model folder or option is wrong
│   ├── StoreError       exit 2   the store cannot be read or written (full, read-only)
│   │   ├── DamagedObject exit 2  an object came back with other bytes than were written
│   │   └── StoreUnavailable exit 2  the store does not answer; it is Unavailable as well
│   └── Unavailable      exit 2   a service does not answer: a wrong address, or it is down
├── CorruptStage         exit 1   a finished stage's bytes differ from its marker
├── EngineFailed         exit 1   the inference engine died
├── TrainingFailed       exit 1   training diverged or its result is unusable
├── LaunchFailed         exit 1   the training processes died, or were never given a place to run
├── RegistryFailed       exit 1   MLflow refused one request; another writer may have met us
├── TrackingFailed       exit 1   MLflow did not answer for as long as a step waits
├── Stopped              exit 143 asked to end, training has written a checkpoint and ended
└── GateRefused          exit 3   the gate (or a promotion rule) said no
"""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.core.redaction import redacted


class LidrError(Exception):
    """Base of every error that lidr raises on purpose.

    Args:
        message: what happened, in one sentence; secrets in it are left out.
        remedy: what the user can do about it, as one imperative sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message = redacted(message)
        self.remedy = remedy
        super().__init__(f"{message.rstrip('.')}. {remedy}".strip())


class BadInput(LidrError):
    """Outside data is wrong: names the file, the line (1-based) and the remedy."""

    exit_code = 2

    def __init__(
        self, message: str, *, file: Path | str = "", line: int = 0, remedy: str = ""
    ) -> None:
        self.file = redacted(str(file))
        self.line = line
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message, remedy=remedy)


class StoreError(BadInput):
    """The store refuses to be read or written."""


class DamagedObject(StoreError):
    """An object of the store does not have the bytes that were written."""


class Unavailable(BadInput):
    """A service is unavailable; callers may retry."""


class StoreUnavailable(StoreError, Unavailable):
    """The store does not answer, or cannot do its work now: callers may ask again."""


class CorruptStage(LidrError):
    """A file of a finished stage does not have the digest its marker names."""


class EngineFailed(LidrError):
    """The inference engine stopped before all requests were answered."""


class TrainingFailed(LidrError):
    """Training diverged (NaN) or exported a model that must not be used."""


class LaunchFailed(LidrError):
    """The processes of a training run died, or no machine was found for them."""


class RegistryFailed(LidrError):
    """MLflow refused one request, which it should be able to do."""


class TrackingFailed(LidrError):
    """MLflow does not answer."""


class Stopped(LidrError):
    """Training was asked to end before it was done; it goes on from its checkpoint."""

    exit_code = 143


class GateRefused(LidrError):
    """A promotion was asked for that the gate's verdict does not allow."""

    exit_code = 3
