"""Kubernetes for the launchers and the command line: pods, logs and TrainJobs.

Imports `config`, `store` and what lies below them, and no step.
"""
