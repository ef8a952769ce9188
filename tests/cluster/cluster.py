"""The cluster as its user has it: kubectl, the `lidr` command, and the store."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster.commands import Done, run, wait_for
from tests.cluster.forwards import Forward, free_port
from tests.cluster.options import Options
from tests.cluster.results import Failure, Figures

ROOT = Path(__file__).resolve().parents[2]
Object = dict[str, Any]


@dataclass
class Cluster:
    """One cluster under test.

    Attributes:
        options: the command line.
        figures: what parts measure.
        removals: what removes what the parts have made, the latest last. See `afterwards`.
        begun: when the test began, in seconds since 1970.
        interrupted: set by Ctrl-C: a series of faults ends, and starts again what it had stopped.
    """

    options: Options
    figures: Figures = field(default_factory=Figures)
    removals: list[Callable[[], object]] = field(default_factory=list)
    begun: float = field(default_factory=time.time)
    interrupted: threading.Event = field(default_factory=threading.Event)

    @property
    def prefix(self) -> str:
        """What the names of everything begin with that the parts make."""
        return f"lidr-test-{self.options.seed}"

    @cached_property
    def profile(self) -> Any:
        """The user's profile, with the store and the experiment of this test."""
        from lidr.pipelines.cli.inputs import read_profile

        return read_profile(*self.layers())

    @property
    def namespace(self) -> str:
        """Of lidr's own objects and TrainJobs."""
        return str(self.profile.namespace)

    @property
    def pods_namespace(self) -> str:
        """Of the runs' pods."""
        return str(self.profile.kubeflow.namespace or self.profile.namespace)

    def layers(self, **keys: Any) -> list[str]:
        """Return the profile's files: the user's, one of the test, one with further keys."""
        folder = self.options.folder
        folder.mkdir(parents=True, exist_ok=True)
        from lidr.pipelines.cli.inputs import read_profile

        given = read_profile(*self.options.profiles)
        own: Object = {
            "store": f"{given.store}/{self.prefix}",
            "kubeflow": {"host": self.options.kfp_host, "experiment": self.prefix},
        }
        for key, value in keys.items():
            own[key] = {**own[key], **value} if isinstance(own.get(key), dict) else value
        text = json.dumps(own, sort_keys=True)  # which is YAML as well
        file = folder / f"profile-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
        file.write_text(text)
        return [*self.options.profiles, str(file)]

    def say(self, text: str) -> None:
        """Tell how far a part is."""
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)

    # commands

    def kubectl(self, *arguments: str, given: str | None = None, seconds: float = 300.0) -> Done:
        """Run kubectl to its end."""
        return run(["kubectl", *arguments], given, seconds)

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ... -o json` says; {} where the object is not there."""
        done = self.kubectl("get", *arguments, "--output=json")
        if done.code and "NotFound" in done.err:
            return {}
        return json.loads(done.require().out)

    def items(self, kind: str, namespace: str, *selectors: str) -> list[Object]:
        """Return the objects of a kind in a namespace."""
        return list(self.get(kind, f"--namespace={namespace}", *selectors).get("items", []))

    def apply(self, *objects: Object) -> None:
        """Make or change objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--filename=-", given=text).require()

    def delete(self, *arguments: str) -> Done:
        """Delete objects, and do not mind where they are gone."""
        return self.kubectl("delete", "--ignore-not-found", "--wait=false", *arguments)

    def lidr(self, *arguments: str, seconds: float = 3600.0, **keys: Any) -> Done:
        """Run `lidr` with the test's profile, and with further keys of one."""
        layers = [word for layer in self.layers(**keys) for word in ("--profile", layer)]
        command, *rest = arguments
        return run(
            [sys.executable, "-m", "lidr.pipelines.cli", command, *rest, *layers], None, seconds
        )

    def lidr_json(self, *arguments: str, **keys: Any) -> Any:
        """Run `lidr ... --output json`, and return what it printed."""
        done = self.lidr(*arguments, "--output", "json", **keys).require()
        return json.loads(done.out.splitlines()[-1])

    def lidr_registry(self, *arguments: str) -> Done:
        """Run a command on registered models, on this test's store."""
        home = ["--store", self.profile.store] if arguments[0] == "promote" else []
        return run([sys.executable, "-m", "lidr.pipelines.cli", *arguments, *home], None, 600.0)

    # waiting

    def wait_ready(self, kind: str, name: str, namespace: str, seconds: float = 600.0) -> None:
        """Wait until all pods of a workload are ready."""

        def ready() -> bool:
            found = self.get(kind, name, f"--namespace={namespace}")
            status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 1)
            current = status.get("observedGeneration") == found.get("metadata", {}).get(
                "generation"
            )
            return current and wanted == status.get("readyReplicas", 0) == status.get(
                "updatedReplicas", 0
            )

        wait_for(f"{kind} {name} to be ready", ready, seconds)

    def workflows(self, run_name: str) -> list[Object]:
        """Return the Argo workflows of a run, the oldest first."""
        found = [
            each
            for each in self.items("workflows.argoproj.io", self.pods_namespace)
            if each["metadata"].get("annotations", {}).get("pipelines.kubeflow.org/run_name")
            == run_name
        ]
        return sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])

    def run_ids(self, *run_names: str) -> set[str]:
        """Return Kubeflow's ids of the runs of these names."""
        return {
            each["metadata"].get("labels", {}).get("pipeline/runid", "")
            for name in run_names
            for each in self.workflows(name)
        }

    # what parts share

    def submitted(self, name: str, *settings: str, **keys: Any) -> Done:
        """Submit the recipe as a run of this name, with --wait; return how that ended.

        A run that Kubeflow's own fault has ended is submitted once more, as its user would.
        """
        done = self._submit_and_wait(name, *settings, **keys)
        if done.code and self.ended_by_kubeflow(name, done.err + done.out):
            return self._submit_and_wait(name, *settings, **keys)
        return done

    def ended_by_kubeflow(self, name: str, told: str) -> bool:
        """Whether Kubeflow's own fault has ended the run of this name, by what lidr tells of it."""
        found = _KUBEFLOW_FAULT in told
        if found:
            self.say(f"{name} ended with Kubeflow's `{_KUBEFLOW_FAULT}`; the same command again")
        return found

    def _submit_and_wait(self, name: str, *settings: str, **keys: Any) -> Done:
        return self.lidr(
            "submit",
            "tiny_world",
            *(word for each in settings for word in ("--set", each)),
            "--run",
            name,
            "--wait",
            "--output",
            "json",
            **keys,
        )

    @contextlib.contextmanager
    def made(self, *arguments: str, always: bool = False) -> Iterator[None]:
        """Delete what `kubectl delete` would of these words at the end; `always` despite --keep."""
        try:
            yield
        finally:
            if always or not self.options.keep:
                self.delete(*arguments)

    def afterwards(self, removal: Callable[[], object], *, always: bool = False) -> None:
        """Do this at the end, the latest first; with --keep only what must always be done."""
        if always or not self.options.keep:
            self.removals.append(removal)

    def remove(self) -> None:
        """Remove what the parts have made, the latest first; what does not go is named."""
        from tests.cluster.removal import remove_runs, remove_store

        last: list[Callable[[], object]] = [
            lambda: remove_runs(self.profile, self.begun),
            lambda: remove_store(self.profile.store),
        ]
        first = [] if self.options.keep else last
        for removal in [*first, *reversed(self.removals)]:
            try:
                removal()
            except Exception as error:
                self.say(f"not removed: {type(error).__name__}: {error}")


_KUBEFLOW_FAULT = "two tasks have the same task name"
"""What every later driver of a run says once one was recreated (docs/reliability.md)."""


def environment(cluster: Cluster) -> None:
    """Let kubectl, lidr and the store find what they need, as a user's shell would have it.

    What is not set is taken from the namespace: the store's keys and MLflow's login, and both
    through `kubectl port-forward`.

    Raises:
        Failure: a Service is there and cannot be reached.
    """
    os.environ["KUBECONFIG"] = cluster.options.kubeconfig
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    os.environ["LIDR_KFP_HOST"] = cluster.options.kfp_host
    settings = cluster.get("configmap", "lidr-environment", f"--namespace={cluster.namespace}")
    for name, value in settings.get("data", {}).items():
        if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL":
            os.environ.setdefault(name, value)
    for service, variable, port in _SERVICES:
        found = cluster.get("service", service, f"--namespace={cluster.namespace}")
        if found and variable not in os.environ:
            os.environ[variable] = _forwarded(cluster, service, port)
    for secret in ("lidr-object-store", "lidr-mlflow"):
        _login(cluster, secret)


_SERVICES = (
    ("lidr-object-store", "AWS_ENDPOINT_URL", 8333),
    ("lidr-mlflow", "MLFLOW_TRACKING_URI", 5000),
)


def _forwarded(cluster: Cluster, service: str, port: int) -> str:
    """Return the address here of a Service; MLflow answers as localhost:5000 alone."""
    forward = Forward(service, cluster.namespace, port, local := free_port(port))
    forward.start()
    cluster.afterwards(forward.end, always=True)
    require(forward.opened(), f"kubectl port-forward to {service} does not open its port")
    return f"http://localhost:{local}"


def _login(cluster: Cluster, secret: str) -> None:
    import base64

    found = cluster.get("secret", secret, f"--namespace={cluster.namespace}")
    for name, value in found.get("data", {}).items():
        os.environ.setdefault(name, base64.b64decode(value).decode())


def require(truth: object, otherwise: str) -> None:
    """Raise `Failure` with these words where something does not hold."""
    if not truth:
        raise Failure(otherwise)
