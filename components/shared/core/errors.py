"""The exceptions lidr raises on purpose; everything else is a bug and propagates.

LidrError                exit 1   something failed; the message says what and what to do
├── BadInput             exit 2   a recipe, profile, prompt file, model folder or option is wrong
│   ├── StoreError       exit 2   the store cannot be read or written (full, read-only)
│   │   └── StoreUnavailable exit 2  the store does not answer; also a subclass of Unavailable
│   ├── DamagedObject    exit 2   bytes changed on the way to or from the store, or on it
│   └── Unavailable      exit 2   a service does not answer: a wrong address, or it is down
├── CorruptStage         exit 1   a finished stage's bytes differ from its marker
├── EngineFailed         exit 1   the inference engine died
├── WrittenByAnother     exit 1   another worker wrote a chunk first, with other records
├── TrainingFailed       exit 1   training diverged or its result is unusable
├── LaunchFailed         exit 1   the training processes died, or could not be scheduled
├── RegistryFailed       exit 1   MLflow refused a request, perhaps because of a concurrent writer
├── TrackingFailed       exit 1   MLflow was unavailable for longer than a step waits
├── TakenOver            exit 1   another execution has taken the run over
├── Stopped              exit 143 training was asked to stop, and has written a checkpoint
└── GateRefused          exit 3   the gate (or a promotion rule) said no
"""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.core.redaction import redacted


class LidrError(Exception):
    """Base of every error that lidr raises on purpose.

    Args:
        message: what happened, in one sentence; secrets are redacted.
        remedy: what the user can do about it, as one imperative sentence; redacted too.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message = redacted(message)
        self.remedy = remedy = redacted(remedy)
        super().__init__(f"{message.rstrip('.')}. {remedy}".strip())


def failure_text(error: BaseException) -> str:
    """Return what a failure says; an unexpected error's class is part of it."""
    if isinstance(error, LidrError):
        return str(error)
    return redacted(f"{type(error).__name__}: {error}".removesuffix(": "))


class BadInput(LidrError):
    """Input from outside is wrong: names the file, the line (1-based) and the remedy."""

    exit_code = 2

    def __init__(
        self, message: str, *, file: Path | str = "", line: int = 0, remedy: str = ""
    ) -> None:
        self.file = redacted(str(file))
        self.line = line
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message, remedy=remedy)


class StoreError(BadInput):
    """The store cannot be read or written."""


class DamagedObject(BadInput):
    """Bytes changed on the way to or from the store, or on it."""


class Unavailable(BadInput):
    """A service is unavailable; callers may retry."""


class StoreUnavailable(StoreError, Unavailable):
    """The store does not answer, or cannot serve requests now; callers may retry."""


class CorruptStage(LidrError):
    """A file of a finished stage does not have the digest in the stage's marker."""


class EngineFailed(LidrError):
    """The inference engine stopped before all requests were answered."""


class WrittenByAnother(LidrError):
    """Another worker wrote a chunk first, and its records differ from this worker's."""


class TrainingFailed(LidrError):
    """Training diverged (NaN) or exported a model that must not be used."""


class LaunchFailed(LidrError):
    """The processes of a training run died, or could not be scheduled."""


class RegistryFailed(LidrError):
    """MLflow is up, but refused a request or gave an unusable answer."""


class TrackingFailed(LidrError):
    """MLflow does not answer, or cannot serve requests now."""


class Stopped(LidrError):
    """Training was asked to stop early; started again, it resumes from its checkpoint."""

    exit_code = 143


class TakenOver(LidrError):
    """Another execution has taken the run over, so this one must not go on."""


class GateRefused(LidrError):
    """The gate's verdict, or a promotion rule, does not allow the requested promotion."""

    exit_code = 3
