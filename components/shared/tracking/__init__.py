"""A run in MLflow: what is logged, and how it arrives whatever happens to the server.

Stages leave small files below `runs/<run>/tracking/` of the store (`outbox`), filled from a
finished stage's own marker (`facts`). Delivery (`delivery`) finds or makes the MLflow runs (`runs`)
and repeats what was not confirmed; MLflow keeps one of equal metrics, so that arrives exactly once.
`following` is what every step does; `uploader` is the process that delivers beside it.
"""

from lidr.components.shared.tracking.client import (
    ask_mlflow,
    client_at,
    experiment_id,
    mlflow_client,
    tracking_uri,
)

__all__ = ["ask_mlflow", "client_at", "experiment_id", "mlflow_client", "tracking_uri"]
