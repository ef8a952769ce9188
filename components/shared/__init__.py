"""What several steps need, in packages that import only from those below them.

From the bottom: core, config, the table of steps, records, store; inputs, numbers and stats;
kubernetes, tracking, models, engines, forward, sizing, lineage, registry; above them the run's
lease and the decorator of every step.
"""
