"""Installation: the commands of manifests/README.md, as they are printed there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.cluster import ROOT, Cluster, environment, require
from tests.cluster.commands import run
from tests.cluster.documents import commands_of

PAGE = ROOT / "manifests" / "README.md"


def install(cluster: Cluster) -> str:
    """Install lidr from the document, wait until all of it is ready, and let check.py look."""
    os.environ["KUBECONFIG"] = cluster.options.kubeconfig
    if cluster.options.foundation:
        _apply_foundation(cluster)
    account = ("serviceaccount", "lidr-pipeline", f"--namespace={cluster.namespace}")
    fresh = not cluster.get(*account)
    commands = [
        command.replace("overlays/gke", f"overlays/{cluster.options.overlay}")
        for command in commands_of(PAGE.read_text("utf-8"), "Installing lidr")
        if "dry-run" not in command
    ]
    require(commands, "manifests/README.md prints no command under `Installing lidr`")
    secrets = _secrets(cluster)
    for command in [*commands[:1], *secrets, *commands[1:]]:
        _as_printed(cluster, command)
    if fresh:
        cluster.afterwards(lambda: _remove(cluster))
    ready = _wait(cluster)
    run(
        ["python3", "manifests/check.py", cluster.options.overlay],
    ).require()
    environment(cluster)
    return f"{len(commands)} commands as printed, {len(secrets)} secrets made, {ready} ready"


def _apply_foundation(cluster: Cluster) -> None:
    folder = cluster.options.foundation
    kind = "-k" if (Path(folder) / "kustomization.yaml").exists() else "-f"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", kind, folder).require()


def _secrets(cluster: Cluster) -> list[str]:
    """Return the document's commands for the Secrets that are not there yet."""
    printed = [
        each.replace("-n lidr", f"-n {cluster.namespace}")
        for each in commands_of(PAGE.read_text("utf-8"), "Secrets")
    ]
    names = {each["metadata"]["name"] for each in cluster.items("secrets", cluster.namespace)}
    prepare = [each for each in printed if "kubectl" not in each]
    create = [
        each
        for each in printed
        if "create secret generic" in each
        and "HF_TOKEN" not in each  # tiny_world needs no hub
        and each.split("generic ")[1].split()[0] not in names
    ]
    return ["\n".join([*prepare, *create])] if create else []


def _as_printed(cluster: Cluster, command: str) -> None:
    cluster.say(command.splitlines()[-1][:100])
    done = run(["bash", "-ec", f"cd {ROOT}\n{command}"])
    require(done.code == 0, f"`{command.splitlines()[0][:80]}`: {done.last()}")


def _wait(cluster: Cluster) -> int:
    """Wait until each Deployment and StatefulSet of lidr's is ready; return how many there are."""
    wanted = [
        (kind, each["metadata"]["name"])
        for kind in ("deployment", "statefulset")
        for each in cluster.items(
            kind, cluster.namespace, "--selector=app.kubernetes.io/part-of=lidr"
        )
    ]
    for kind, name in wanted:
        cluster.wait_ready(kind, name, cluster.namespace)
    return len(wanted)


def _remove(cluster: Cluster) -> None:
    for folder in (f"overlays/{cluster.options.overlay}",):
        cluster.delete("-k", str(ROOT / "manifests" / folder))
