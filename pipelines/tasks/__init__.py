"""Kubeflow tasks that each run several steps: the sharded rollout, and the loop's bookkeeping.

Each task costs 20 seconds in Kubeflow, whatever it does, and some bytes of the Workflow. These
tasks are in `pipelines` because steps never call each other.
"""
