"""What the launchers and the command line share of Kubernetes: pods, logs and TrainJobs.

It may import the configuration, the store and what lies below them, and no step.
"""
