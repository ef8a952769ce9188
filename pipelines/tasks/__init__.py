"""Tasks that run several steps in one pod: the rollout in shards, and the loop's bookkeeping.

Each task costs 20 seconds in Kubeflow, whatever it does, and some bytes of the Workflow. They are
in `pipelines` because steps never call each other.
"""
