"""A series of faults at random moments, while runs are under way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.cluster.cluster import Cluster, Object
from tests.cluster.faults.components import Components
from tests.cluster.faults.journal import Journal, counted, rows
from tests.cluster.faults.kinds import COMPONENTS, DECK, Kind, duration, shuffled
from tests.cluster.faults.lives import Life

PAUSE = (2.0, 20.0)
_RUN_LABEL = "pipeline/runid"
_JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"


@dataclass(frozen=True)
class Victim:
    """A pod that may be deleted or killed.

    Attributes:
        name: of the pod.
        namespace: it is in.
        role: `executor`, `driver` or `rank`.
        container: whose processes are killed.
        life: that it works for.
    """

    name: str
    namespace: str
    role: str
    container: str
    life: int


class Series:
    """Faults until so many were counted, with as many lives under way as asked.

    One component at a time is stopped; meanwhile pods go on to die.

    Args:
        cluster: under test.
        journal: of this series and those before it.
        wanted: contents of the undisturbed run.
    """

    def __init__(self, cluster: Cluster, journal: Journal, wanted: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._journal = journal
        self._wanted = wanted
        before = journal.entries()
        begun = {e["life"] for e in before if "life" in e}
        self._next = 1 + max(begun, default=0)
        self._open = sorted(begun - {e["life"] for e in before if e["entry"] == "end"})
        self._counted = counted(rows(before))["tried"]
        self._rng = random.Random(f"{cluster.options.seed} {self._next}")
        left = max(0, cluster.options.kills - self._counted)
        self._components = Components(cluster)
        self._present = {name: self._components.present(name) for name in COMPONENTS}
        self._deck = shuffled(self._rng, left, [kind for kind in DECK if self._wanted_here(kind)])
        self._lives: list[Life] = []
        self._stopped: threading.Thread | None = None
        self._hit: set[str] = set()
        self._runs: dict[str, int] = {}
        self._jobs: dict[str, int] = {}

    def run(self) -> None:
        """Inject every fault, then let the runs end."""
        options = self._cluster.options
        end = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
        interrupted = self._cluster.interrupted
        while self._deck and time.monotonic() < end and not interrupted.is_set():
            self._keep_living()
            self._pause()
            if not interrupted.is_set():
                self._inject()
        if self._stopped:
            self._stopped.join()
        end = time.monotonic() + 3600
        while any(life.is_alive() for life in self._lives) and time.monotonic() < end:
            if interrupted.wait(2):
                return

    def _wanted_here(self, kind: Kind) -> bool:
        """Tell whether a fault was asked for and can be injected here."""
        only = self._cluster.options.only
        if only and not any(word in kind.words for word in only):
            return False
        return not kind.stops or self._present[kind.target]

    def _keep_living(self) -> None:
        """Start lives in place of those that have ended, first those that were interrupted.

        The last few faults need fewer: the end of each life has to be waited for.
        """
        self._lives = [life for life in self._lives if life.is_alive()]
        while len(self._lives) < min(self._cluster.options.lives, len(self._deck)):
            number = self._open.pop(0) if self._open else self._next
            self._next = max(self._next, number + 1)
            life = Life(self._cluster, self._journal, number, self._wanted)
            self._lives.append(life)
            life.start()
            self._cluster.say(f"life {life.number} begins; {len(self._deck)} faults are left")

    def _pause(self) -> None:
        """Wait for a random moment; ranks live shortly, so their appearance ends the wait."""
        end = time.monotonic() + self._rng.uniform(*PAUSE)
        ranks = any(kind.target == "rank" for kind in self._deck)
        while time.monotonic() < end:
            time.sleep(3)
            if ranks and any(each.role == "rank" for each in self._victims()):
                time.sleep(self._rng.uniform(0, 12))
                return

    def _inject(self) -> None:
        """Do the first of the faults ahead that finds its target now."""
        victims = self._victims()
        roles = {each.role for each in victims}
        busy = self._stopped is not None and self._stopped.is_alive()
        possible = [k for k in self._deck if (not busy if k.stops else k.target in roles)]
        if not possible or not victims:  # a component that nobody needs now is not stopped
            return
        ranks = [kind for kind in possible if kind.target == "rank"]
        kind = (ranks or possible)[0]
        if kind.stops:
            done = self._stop(kind)
        else:
            chosen = self._rng.choice([each for each in victims if each.role == kind.target])
            done = self._kill(kind, chosen)
        if done:
            self._deck.remove(kind)

    def _stop(self, kind: Kind) -> bool:
        seconds = duration(kind, self._rng, self._cluster.options.longest)
        self._components.stop(kind.target)
        lives = [life.number for life in self._lives if life.is_alive()]
        self._note(kind, kind.target, lives, time.time(), seconds)
        self._stopped = threading.Thread(target=self._start_after, args=(kind.target, seconds))
        self._stopped.start()
        return True

    def _start_after(self, component: str, seconds: float) -> None:
        self._cluster.interrupted.wait(seconds)
        self._components.start(component)
        self._cluster.say(f"{component} is there again")

    def _kill(self, kind: Kind, victim: Victim) -> bool:
        """Delete a pod, or kill what runs in it; False where it had ended already."""
        command = ["delete", "pod", victim.name, "--wait=false"]
        if kind.action == "kill" and victim.role != "driver":  # whose image has no shell
            container = f"--container={victim.container}"
            command = ["exec", victim.name, container, "--", "sh", "-c", "kill -9 -1"]
        elif kind.action == "kill":
            command += ["--grace-period=0", "--force"]
        begun = time.time()
        done = self._cluster.kubectl(f"--namespace={victim.namespace}", *command, seconds=90)
        if done.code not in (0, 137):  # the shell spares itself, unless the container ends first
            self._journal.add(entry="missed", target=victim.name, told=done.last(200))
            return False
        self._note(kind, victim.name, [victim.life], begun)
        self._hit.add(victim.name)
        return True

    def _note(
        self, kind: Kind, target: str, lives: list[int], begun: float, seconds: float = 0.0
    ) -> None:
        self._journal.add(
            entry="kill",
            time=round(begun, 1),
            words=kind.words,
            target=target,
            lives=lives,
            seconds=round(seconds),
        )
        self._cluster.say(f"{kind.words}: {target}{f' for {seconds:.0f} s' if seconds else ''}")

    def _victims(self) -> list[Victim]:
        """Return the pods of the lives that run now."""
        spaces = {self._cluster.pods_namespace, self._cluster.namespace}
        selector = "--field-selector=status.phase=Running"
        pods = [pod for space in spaces for pod in self._cluster.items("pods", space, selector)]
        labels = [pod["metadata"].get("labels", {}) for pod in pods]
        if any(each.get(_RUN_LABEL, "") not in self._runs for each in labels if _RUN_LABEL in each):
            self._learn_runs(each[_RUN_LABEL] for each in labels if _RUN_LABEL in each)
        if any(each[_JOBSET_LABEL] not in self._jobs for each in labels if _JOBSET_LABEL in each):
            self._learn_jobs(each[_JOBSET_LABEL] for each in labels if _JOBSET_LABEL in each)
        alive = {life.number for life in self._lives if life.is_alive()}
        found = victims_of(pods, self._runs, self._jobs)
        return [each for each in found if each.life in alive and each.name not in self._hit]

    def _learn_runs(self, found: Iterable[str]) -> None:
        """Remember which lives Kubeflow's run ids belong to; 0 stands for a stranger."""
        self._runs |= dict.fromkeys(found, 0)
        for life in self._lives:
            self._runs |= dict.fromkeys(self._cluster.run_ids(life.run_name), life.number)

    def _learn_jobs(self, found: Iterable[str]) -> None:
        """Remember which lives TrainJobs belong to."""
        self._jobs |= dict.fromkeys(found, 0)
        for job in self._cluster.items("trainjobs.trainer.kubeflow.org", self._cluster.namespace):
            run_id = job["metadata"].get("annotations", {}).get("lidr.dev/kfp-run", "")
            self._jobs[job["metadata"]["name"]] = self._runs.get(run_id, 0)


def victims_of(
    pods: Iterable[Object], runs: dict[str, int], jobs: dict[str, int]
) -> Iterable[Victim]:
    """Yield the running pods that work for a life.

    Args:
        pods: of the namespaces.
        runs: the life of each of Kubeflow's run ids.
        jobs: the life of each TrainJob.
    """
    for pod in pods:
        metadata, labels = pod["metadata"], pod["metadata"].get("labels", {})
        if pod["status"].get("phase") != "Running" or "deletionTimestamp" in metadata:
            continue
        name, namespace = metadata["name"], metadata["namespace"]
        if not _works(pod):
            continue
        if labels.get(_JOBSET_LABEL) in jobs:
            yield Victim(name, namespace, "rank", "node", jobs[labels[_JOBSET_LABEL]])
        elif labels.get(_RUN_LABEL) in runs:
            path = metadata.get("annotations", {}).get("workflows.argoproj.io/node-name", "")
            role = "driver" if "driver" in path.rsplit(".", 1)[-1] else "executor"
            yield Victim(name, namespace, role, "main", runs[labels[_RUN_LABEL]])


def _works(pod: Object) -> bool:
    """Tell whether a pod's own container runs: Argo's others outlive it by seconds."""
    return any(
        each["name"] in ("main", "node") and "running" in each.get("state", {})
        for each in pod["status"].get("containerStatuses", [])
    )
