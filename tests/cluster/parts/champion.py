"""Promotion: the champion's server follows the alias, and answers."""

from __future__ import annotations

import json

from tests.cluster.cluster import ROOT, Cluster, require
from tests.cluster.commands import wait_for
from tests.cluster.parts.policies import SOURCES
from tests.cluster.parts.submitting import first_run
from tests.cluster.probes import output, pod
from tests.cluster.results import LeftOut

MODEL = "tiny-world"

_CHAT = """
import json, time, urllib.request
base = "http://lidr-champion:8000/v1"

def answer(request, left=60):
    try:
        return json.load(urllib.request.urlopen(request, timeout=120))
    except urllib.error.URLError:  # the Service and this pod's policies arrive a moment after it
        if not left:
            raise
    time.sleep(1)
    return answer(request, left - 1)

model = answer(f"{base}/models")["data"][0]["id"]
asked = {"model": model, "max_tokens": 40, "temperature": 0, "messages": [
    {"role": "user", "content": "Nina has 4 books. Nina finds 2. How many books are left?"}]}
print(json.dumps(answer(urllib.request.Request(f"{base}/chat/completions",
    json.dumps(asked).encode(), {"Content-Type": "application/json"}))))
"""


def promotion(cluster: Cluster) -> str:
    """The candidate becomes champion, and the history says so."""
    first_run(cluster)
    cluster.lidr_registry("promote", MODEL, "--reason", f"{cluster.prefix}: a test").require()
    cluster.afterwards(lambda: _unregister(cluster))
    told = json.loads(cluster.lidr_registry("history", MODEL, "--output", "json").require().out)
    require("champion" in told["aliases"], f"aliases are {told['aliases']}")
    require(told["entries"], "the history is empty")
    return f"champion is version {told['aliases']['champion']}; {len(told['entries'])} entries"


def champion(cluster: Cluster) -> str:
    """The server of the champion is applied, follows the alias, gets ready and answers a chat."""
    folder = ROOT / "manifests" / "overlays" / cluster.options.overlay / "champion"
    if not folder.exists():
        raise LeftOut(f"overlay {cluster.options.overlay} has no champion of its own to apply")
    promotion(cluster)
    cluster.kubectl("apply", "-k", str(folder)).require()
    cluster.afterwards(lambda: cluster.delete("-k", str(folder)))
    source = wait_for("the follower", lambda: _source(cluster), 420, 5)
    require(cluster.profile.store.split("//")[1] in source, f"it follows {source}")
    cluster.wait_ready("deployment", "lidr-champion", cluster.namespace, 1200)
    answer = _asked(cluster)
    return f"follows {source.rsplit('/', 3)[-3]}; answers: {answer[:60]!r}"


def _source(cluster: Cluster) -> str:
    found = cluster.get("deployment", "lidr-champion", f"--namespace={cluster.namespace}")
    template = found.get("spec", {}).get("template", {}).get("metadata", {})
    return str(template.get("annotations", {}).get("lidr.dev/champion-source", ""))


def _asked(cluster: Cluster) -> str:
    """Return the champion's answer to a question that a pod of the pipeline asks."""
    name = f"{cluster.prefix}-asks"
    cluster.delete("pod", name, f"--namespace={cluster.namespace}")
    with cluster.made("pod", name, f"--namespace={cluster.namespace}"):
        cluster.apply(
            pod(cluster, name, cluster.namespace, SOURCES["pipeline"], ["python", "-c", _CHAT])
        )
        told = json.loads(output(cluster, name, cluster.namespace).splitlines()[-1])
    answer = told["choices"][0]["message"]["content"]
    require(answer.strip(), "the champion's answer is empty")
    return str(answer)


def _unregister(cluster: Cluster) -> None:
    """Delete the versions whose files are on this test's store."""
    from mlflow import MlflowClient

    client = MlflowClient()
    for version in client.search_model_versions(f"name='{MODEL}'"):
        if version.source.startswith(cluster.profile.store):
            client.delete_model_version(MODEL, str(version.version))
