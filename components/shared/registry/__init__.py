"""Registered models: versions, their aliases, promotion, and the audit log.

MLflow has no transaction over two calls and no compare-and-set of an alias. What must not be done
twice or concurrently is done under a lease on the store (`components/shared/store/lease.py`).

In all modules, `client` is an `mlflow.MlflowClient`, `name` is a registered model's, and
`audit_log` is the folder with its lease and its audit entries.
"""
