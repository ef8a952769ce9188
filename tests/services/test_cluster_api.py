"""Requests to the Kubernetes API over HTTP: what refusals and broken answers become."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.cluster.api import ClusterApi, Denied
from lidr.pipelines.cluster.namespace import RunNamespaces, namespace_of, why_not_admitted
from tests.json_server import serving
from tests.kubernetes_api import CORE, NAMESPACE, KubernetesApi, write_kubeconfig
from tests.yaml_text import read_yaml

LOG = "/api/v1/namespaces/lidr/pods/x/log"
BROKEN = (200, "no chunk\r\n", {"Transfer-Encoding": "chunked"})

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

Answers = dict[str, tuple[Any, ...]]


def whoami(name: str) -> tuple[int, Any]:
    """Return the API's answer to the question who somebody is."""
    return 201, {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": name}}}


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch) -> Path:
    path = tmp_path / "kubeconfig"
    place = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(place, str(path))
    return path


@pytest.fixture
def answers(kubeconfig: Path) -> Iterator[Answers]:
    """Answers by path, of a server that the kubeconfig leads to."""
    found: Answers = {"/version": (200, {"gitVersion": "v1.36.2"}), WHOAMI: whoami("me")}
    with serving(lambda request, body: found[request.path.partition("?")[0]]) as url:
        write_kubeconfig(KubernetesApi(url=url), kubeconfig)
        yield found


@pytest.fixture
def api(answers: Answers) -> ClusterApi:
    connected = ClusterApi(5.0)
    connected.reach()
    return connected


def test_an_object_in_a_namespace_that_does_not_exist_is_refused(answers: Answers, api: ClusterApi):
    answers["/jobs"] = (404, {"message": 'namespaces "lidt" not found'})
    with pytest.raises(BadInput, match=r'HTTP 404.*namespaces "lidt" not found') as caught:
        api.create("/jobs", {})
    assert "namespace in the profile" in caught.value.remedy
    assert not isinstance(caught.value, Unavailable)


@pytest.mark.parametrize("status", [405, 410, 413, 422])
def test_a_refusal_is_no_silence_and_is_quoted(answers: Answers, api: ClusterApi, status: int):
    answers["/x"] = (status, {"message": "not so"})
    with pytest.raises(BadInput, match=rf"/x is refused \(HTTP {status}\): not so") as caught:
        api.get("/x")
    assert not isinstance(caught.value, Unavailable)


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Denied), (408, Unavailable), (503, Unavailable)]
)
@pytest.mark.parametrize("ask", [ClusterApi.get, ClusterApi.text])
def test_a_log_is_refused_as_an_object_is(
    answers: Answers, api: ClusterApi, ask: Callable[..., Any], status: int, kind: type[BadInput]
):
    answers[LOG] = (status, {})
    with pytest.raises(kind):
        ask(api, LOG)


@pytest.mark.parametrize("status", [400, 404])
def test_a_log_that_is_not_there_yet_is_empty(answers: Answers, api: ClusterApi, status: int):
    answers[LOG] = (status, {"message": "container has not started"})
    assert api.text(LOG) == ""


def test_a_log_that_breaks_off_is_an_api_that_does_not_answer(answers: Answers, api: ClusterApi):
    answers[LOG] = answers["/api/v1/namespaces/lidr/pods"] = BROKEN
    with pytest.raises(Unavailable, match="does not answer"):
        api.text(LOG)
    with pytest.raises(Unavailable, match="cannot read the logs of namespace lidr"):
        RunNamespaces("lidr").log("x", "main")
    with pytest.raises(Unavailable, match="cannot list the pods"):
        RunNamespaces("lidr").pods("1")


def test_a_list_that_is_null_is_empty(answers: Answers, api: ClusterApi):
    answers["/x"] = (200, {"items": None, "metadata": None})
    assert list(api.items("/x")) == []


def test_a_connection_that_is_not_trusted_is_one_line_and_names_the_certificate(
    answers: Answers, kubeconfig: Path
):
    kubeconfig.write_text(kubeconfig.read_text().replace("http://", "https://"))
    with pytest.raises(BadInput, match="is not trusted: SSLError") as caught:
        ClusterApi(5.0).reach()
    assert "certificate-authority-data" in caught.value.remedy
    assert "\n" not in str(caught.value) and "HTTP" not in str(caught.value)


def test_a_kubeconfig_whose_context_is_not_there_is_named(answers: Answers, kubeconfig: Path):
    """The account of a pod that this runs in would be another cluster's."""
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace("current-context: test", "current-context: gone"))
    with pytest.raises(BadInput, match="Expected object with name gone in") as caught:
        ClusterApi(5.0).reach()
    assert caught.value.file == str(kubeconfig)


def test_an_api_that_limits_requests_is_not_called_sick(answers: Answers, api: ClusterApi):
    answers["/x"] = (429, {"message": "too many requests"})
    with pytest.raises(Unavailable, match="limits our requests") as caught:
        list(api.items("/x"))
    assert "readyz" not in caught.value.remedy


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "clusters: 1\n"])
def test_a_kubeconfig_that_is_none_is_named(kubeconfig: Path, text: str):
    kubeconfig.write_text(text)
    with pytest.raises(BadInput, match="is no kubeconfig") as caught:
        ClusterApi(5.0).reach()
    assert caught.value.file == str(kubeconfig)


UNKNOWN = 'selfsubjectreviews is forbidden: User "system:anonymous" cannot create resource'


@pytest.mark.parametrize("answer", [whoami("system:anonymous"), (403, {"message": UNKNOWN})])
def test_api_that_does_not_know_us_is_not_reached(answers: Answers, answer: tuple[int, Any]):
    answers[WHOAMI] = answer
    api = ClusterApi(5.0)
    with pytest.raises(BadInput, match="does not know who we are") as caught:
        api.reach()
    assert "kubectl auth whoami" in caught.value.remedy
    assert not api.is_reached()


@pytest.mark.parametrize("status", [404, 403], ids=["before 1.28", "may not ask"])
def test_api_that_cannot_say_who_we_are_is_reached(answers: Answers, status: int):
    answers[WHOAMI] = (status, {"message": "no"})
    assert ClusterApi(5.0).reach() == "v1.36.2"


PLUGIN = """#!/bin/sh
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": %s}'
exit %d
"""


@pytest.mark.parametrize(
    ("status", "code", "works"),
    [("{}", 1, False), ("{}", 0, False), ('{"token": "t"}', 0, True), ("", -1, False)],
    ids=["fails", "has no token", "works", "is not installed"],
)
def test_kubeconfig_whose_login_plugin_fails_names_it(
    answers: Answers, kubeconfig: Path, status: str, code: int, works: bool
):
    plugin = kubeconfig.with_name("cloud-login")
    if code >= 0:
        plugin.write_text(PLUGIN % (status, code))
        plugin.chmod(0o755)
    config = read_yaml(kubeconfig.read_text())
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    config["users"][0]["user"] = {"exec": login}
    kubeconfig.write_text(yaml.safe_dump(config))
    if works:
        assert ClusterApi(5.0).reach() == "v1.36.2"
        return
    with pytest.raises(BadInput, match=f"its login plugin `{plugin}` gives no cred") as caught:
        ClusterApi(5.0).reach()
    assert caught.value.file == str(kubeconfig)
    assert "kubectl auth whoami" in caught.value.remedy


@pytest.mark.parametrize(
    ("namespace", "of_kubeflow", "found"),
    [
        ("", "team-a", ("team-a", "team-a")),
        ("b", "team-a", ("team-a", "b")),
        ("b", "", ("b", "b")),
        ("", "", (NAMESPACE, NAMESPACE)),
    ],
)
def test_trainjobs_are_beside_the_pods_unless_the_profile_says_where(
    api: ClusterApi, namespace: str, of_kubeflow: str, found: tuple[str, str]
):
    profile = read_profile("cluster")
    kubeflow = profile.kubeflow.model_copy(update={"namespace": of_kubeflow})
    profile = profile.model_copy(update={"namespace": namespace, "kubeflow": kubeflow})
    assert api.namespaces(profile) == found
    runs = namespace_of(profile)
    assert (runs.name, runs.training) == found


def test_a_proxy_s_page_to_log_in_is_an_api_that_does_not_answer(answers: Answers):
    page = (200, "<html>Log in</html>")
    jobs = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/lidr/trainjobs"
    for path in (f"{CORE}/pods", f"{CORE}/events", jobs, f"{jobs}/x"):
        answers[path] = page
    runs = RunNamespaces("lidr")
    for ask in (runs.pods, runs.jobs, runs.delete_job):
        with pytest.raises(Unavailable, match="is no JSON, perhaps a proxy's page to log in"):
            ask("x")
    assert runs.warnings("x") == []


def condition(kind: str, status: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message}


RESERVED = condition("QuotaReserved", "True", "Quota reserved in ClusterQueue gpu")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (None, "not admitted yet"),
        ({"conditions": [condition("QuotaReserved", "False", "no quota")]}, "no quota"),
        ({"conditions": [RESERVED]}, "not admitted yet"),
        ({"conditions": [RESERVED, condition("Admitted", "True")]}, ""),
        (
            {
                "conditions": [RESERVED, condition("Admitted", "False")],
                "admissionChecks": [
                    {"name": "nodes", "state": "Pending", "message": "no capacity for 8 GPUs"},
                    {"name": "budget", "state": "Ready", "message": "paid"},
                    {"name": "people", "state": "Retry", "message": ""},
                ],
            },
            "admission check nodes: no capacity for 8 GPUs; people: Retry",
        ),
    ],
)
def test_a_workload_with_a_quota_waits_for_its_admission_checks(status: Any, why: str):
    assert why_not_admitted({"metadata": {"name": "x"}, "status": status}) == why
