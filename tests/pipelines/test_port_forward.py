"""What a check tells to reach a Service that only pods reach."""

from __future__ import annotations

import pytest

from lidr.pipelines.checks.storage import _port_forward


@pytest.mark.parametrize(
    ("url", "namespace", "command", "here"),
    [
        ("http://lidr-mlflow:5000", "", "kubectl port-forward svc/lidr-mlflow 5000", "5000"),
        ("http://m.ml.svc:8080/x", "lidr", "kubectl -n ml port-forward svc/m 8080", "8080"),
        ("http://m", "lidr", "kubectl -n lidr port-forward svc/m 80", "80"),
        ("https://m", "lidr", "kubectl -n lidr port-forward svc/m 443", "443"),
    ],
)
def test_a_tunnel_has_the_service_s_scheme_and_port(url, namespace, command, here):
    scheme = url.partition(":")[0]
    assert _port_forward(url, namespace) == (command, f"{scheme}://localhost:{here}")
