"""A run in MLflow: what is logged, and how it arrives even if the server fails.

Steps (`step_tracking`) write small files below `runs/<run>/tracking/` of the store (`outbox`), from
the markers of their finished stages (`stage_metrics`). Delivery (`delivery`, beside a step in the
process of `uploader`) finds or creates the MLflow runs (`runs`) and repeats what was not confirmed.
MLflow keeps only one of equal metrics, so each arrives exactly once.
"""

from lidr.components.shared.tracking.client import (
    ask_mlflow,
    client_at,
    experiment_id,
    mlflow_client,
    tracking_uri,
)

__all__ = ["ask_mlflow", "client_at", "experiment_id", "mlflow_client", "tracking_uri"]
