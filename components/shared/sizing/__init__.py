"""Memory, FLOPs and shapes of models by formula, before anything is started.

Imports `kubernetes`, `config` and `core`.
"""
