"""Running subjects side by side: one that hangs, or breaks, is a finding and nothing else."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Mapping

from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.finding import Finding, Subject, missing, refused, unknown

_EXTRAS = {
    "kfp_server_api": "submit",
    "kubernetes": "submit",
    "mlflow": "registry",
    "transformers": "engine",
    "huggingface_hub": "engine",
}
"""Top-level module to the extra of lidr that brings it."""


_SHARED = ("requests", "kubernetes.client", "kubernetes.config")


def run(subjects: Mapping[str, Subject], seconds: float) -> dict[str, list[Finding]]:
    """Run all subjects at once.

    Args:
        subjects: by name.
        seconds: that each of them may take; one that takes longer is left behind.

    Returns:
        Findings by subject, in the subjects' order.
    """
    _import_shared()
    end = time.monotonic() + seconds
    looks = [_Look(name, subject) for name, subject in subjects.items()]
    for look in looks:
        look.start()
    return {look.name: look.result(end, seconds) for look in looks}


def _import_shared() -> None:
    """Import what several subjects import: with its circles, two threads at once would break it.

    What is not installed is said by the subject that needs it.
    """
    for module in _SHARED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


class _Look(threading.Thread):
    """A subject in a thread, which does not keep the process from ending."""

    def __init__(self, name: str, subject: Subject) -> None:
        super().__init__(name=name, daemon=True)
        self._subject = subject
        self._found: list[Finding] = []

    def run(self) -> None:
        try:
            for finding in self._subject():
                self._found.append(finding)
        except LidrError as error:
            self._found.append(refused(self.name, error))
        except ModuleNotFoundError as error:
            self._found.append(_not_installed(self.name, error))
        except Exception as error:  # a bug of ours, or a library's: the other findings still count
            told = f"the check itself failed: {type(error).__name__}: {error}"
            self._found.append(unknown(self.name, told, "Report it, with this line."))

    def result(self, end: float, seconds: float) -> list[Finding]:
        """Return what was found by the end (of the monotonic clock)."""
        self.join(max(0.0, end - time.monotonic()))
        found = list(self._found)
        if self.is_alive():
            told = f"no answer within {seconds:g} s"
            remedy = "See whether it answers at all; where it is only slow, raise --timeout."
            found.append(missing(self.name, told, remedy))
        return found


def _not_installed(name: str, error: ModuleNotFoundError) -> Finding:
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    remedy = f"pip install 'lidr[{extra}]'" if extra else f"Install {module}."
    return unknown(name, f"{module} is not installed here", remedy)
