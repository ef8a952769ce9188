"""What a check reports about one requirement, and running checks in parallel."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.text import one_line
from lidr.pipelines.checks.services import is_service

_EXTRAS = {
    "kfp_server_api": "submit",
    "kubernetes": "submit",
    "mlflow": "registry",
    "transformers": "engine",
    "huggingface_hub": "engine",
}
"""The extra of lidr that installs a library, by the library's top-level module."""

_SHARED_IMPORTS = ("requests", "kubernetes.client", "kubernetes.config")


@dataclass(frozen=True)
class Finding:
    """What was found about one requirement.

    Attributes:
        name: of the requirement.
        state: `unknown` where it cannot be checked from here; `detail` gives the reason.
        detail: what was seen, in one line.
        remedy: how to fix it, with the command where there is one; never empty if `missing`.
    """

    name: str
    state: Literal["ok", "missing", "unknown"]
    detail: str = ""
    remedy: str = ""


Subject = Callable[[], Iterator[Finding]]

KFP_SERVICE = "ml-pipeline"
"""Usual name of the Service of Kubeflow Pipelines' API."""


@dataclass(frozen=True)
class FoundNamespaces:
    """Namespaces of a run.

    Attributes:
        pods: of the pipeline's pods.
        training: of the TrainJobs.
        kubeflow: of Kubeflow Pipelines itself; "" if unknown.
        finding: how `pods` was determined, and whether the profile agrees.
        service: name of the Service of Kubeflow Pipelines' API, in namespace `kubeflow`.
    """

    pods: str
    training: str
    kubeflow: str
    finding: Finding
    service: str = KFP_SERVICE


@dataclass(frozen=True)
class CheckInputs:
    """The run to check, and how long the checks may take.

    Attributes:
        recipe: what to learn; inputs that the store has are read from there.
        profile: where it runs.
        seconds: time limit of one subject, or of all probes together.
        asked: the recipe as it was given; None if it is the same.
    """

    recipe: Recipe
    profile: Profile
    seconds: float
    asked: Recipe | None = None

    @property
    def request_seconds(self) -> float:
        """Time limit of one request: several fit into a subject's time."""
        return min(10.0, self.seconds / 3)

    @property
    def on_cluster(self) -> bool:
        """Whether the run is in pods, which may not see what this machine sees."""
        return self.profile.runner == "kubeflow"

    def only_inside(self, url: str) -> bool:
        """Return whether only pods of the cluster reach a URL, and this process is outside them.

        A Service (`is_service`) whose name resolves here counts as reachable. False for a
        malformed URL, which the check that uses it reports.
        """
        profile = self.profile
        if not self.on_cluster or "KUBERNETES_SERVICE_HOST" in os.environ:
            return False
        try:
            place = urlsplit(url)
            host, port = place.hostname or "", place.port
            if not is_service(host, (profile.namespace, profile.kubeflow.namespace)):
                return False
            socket.getaddrinfo(host, port)
        except OSError:
            return True
        except ValueError:  # a wrong port, or a host name with an empty part
            return False
        return False  # a tunnel, or a name in the company's DNS


def ok(name: str, detail: str = "") -> Finding:
    """Return a requirement that is met."""
    return Finding(name, "ok", one_line(detail))


def missing(name: str, detail: str, remedy: str) -> Finding:
    """Return a requirement that is not met."""
    return Finding(name, "missing", one_line(detail), one_line(remedy))


def unknown(name: str, detail: str, remedy: str = "") -> Finding:
    """Return a requirement that cannot be checked from here."""
    return Finding(name, "unknown", one_line(detail), one_line(remedy))


def refused(name: str, error: LidrError) -> Finding:
    """Return a requirement that is not met, as one of our errors says."""
    return missing(name, error.message, error.remedy or "See the message.")


def refused_or_unknown(name: str, error: LidrError, inputs: CheckInputs) -> Finding:
    """Return `refused`, or `unknown` where the model hub wants a token that only pods have."""
    keys = {key for each in inputs.profile.secrets.values() for key in each}
    closed = any(code in error.message for code in ("401", "403"))
    token_elsewhere = "HF_TOKEN" in keys and not os.environ.get("HF_TOKEN")
    if "hf://" in error.message and closed and token_elsewhere:
        detail = f"{error.message}; pods have HF_TOKEN, which is not set here"
        return unknown(name, detail, "export HF_TOKEN=... to check with it")
    return refused(name, error)


def run_subjects(subjects: Mapping[str, Subject], seconds: float) -> dict[str, list[Finding]]:
    """Run all subjects in parallel; one that hangs or fails gets a finding and delays no other.

    Args:
        subjects: by name.
        seconds: time limit of each; a subject that takes longer is abandoned.

    Returns:
        Findings by subject, in the subjects' order.
    """
    # Several subjects import these, and their circular imports fail in two threads at once.
    # The subject that needs a missing module reports it.
    for module in _SHARED_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    end = time.monotonic() + seconds
    threads = [_SubjectThread(name, subject) for name, subject in subjects.items()]
    for thread in threads:
        thread.start()
    return {thread.name: thread.result(end, seconds) for thread in threads}


def absent(error: ModuleNotFoundError) -> tuple[str, str]:
    """Return which library is not installed, and how to install it."""
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    remedy = f"pip install 'lidr[{extra}]'" if extra else f"Install {module}."
    return f"{module} is not installed here", remedy


class _SubjectThread(threading.Thread):
    """Runs a subject in a daemon thread."""

    def __init__(self, name: str, subject: Subject) -> None:
        super().__init__(name=name, daemon=True)
        self._subject = subject
        self._findings: list[Finding] = []

    def run(self) -> None:
        try:
            for finding in self._subject():
                self._findings.append(finding)
        except LidrError as error:
            self._findings.append(refused(self.name, error))
        except ModuleNotFoundError as error:
            self._findings.append(unknown(self.name, *absent(error)))
        except Exception as error:  # a bug of ours, or a library's: the other findings still count
            detail = f"the check itself failed: {type(error).__name__}: {error}"
            self._findings.append(unknown(self.name, detail, "Report it, with this line."))

    def result(self, end: float, seconds: float) -> list[Finding]:
        """Return the findings before `end` (monotonic clock), and one more if time ran out."""
        self.join(max(0.0, end - time.monotonic()))
        findings = list(self._findings)
        if self.is_alive():
            remedy = "Check that it answers at all; if it is only slow, raise --timeout."
            findings.append(missing(self.name, f"no answer within {seconds:g} s", remedy))
        return findings
