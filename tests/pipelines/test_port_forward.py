"""Which hosts a check takes for Services, and how it says to reach one that only pods reach."""

from __future__ import annotations

import pytest

from lidr.pipelines.checks.services import is_service, port_forward


@pytest.mark.parametrize(
    ("url", "namespace", "command", "here"),
    [
        ("http://lidr-mlflow:5000", "", "kubectl port-forward svc/lidr-mlflow 5000", "5000"),
        ("http://m.ml.svc:8080/x", "lidr", "kubectl -n ml port-forward svc/m 8080", "8080"),
        ("http://m", "lidr", "kubectl -n lidr port-forward svc/m 8080:80", "8080"),
        ("https://m", "lidr", "kubectl -n lidr port-forward svc/m 8443:443", "8443"),
    ],
)
def test_a_tunnel_has_the_service_s_scheme_and_port(url, namespace, command, here):
    scheme = url.partition(":")[0]
    assert port_forward(url, namespace) == (command, f"{scheme}://localhost:{here}")


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("lidr-mlflow", True),
        ("m.ml.svc", True),
        ("m.ml.svc.cluster.local", True),
        ("m.lidr", True),
        ("m.ml", False),
        ("s3.amazonaws.com", False),
        ("10.0.0.1", False),
        ("minio.minio.svc.cluster.local.", True),
        ("", False),
        ("2001:db8::5", False),
    ],
)
def test_service_is_told_by_its_host(host: str, service: bool):
    assert is_service(host, ("lidr", "")) is service
