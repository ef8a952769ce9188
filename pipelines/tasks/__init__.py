"""Tasks that join several steps in one pod: the rollout in shards, and the loop's bookkeeping.

Kubeflow spends 20 seconds on each task, whatever it does, and some bytes of its Workflow. They
are in `pipelines` because they call steps, which steps themselves never do.
"""
