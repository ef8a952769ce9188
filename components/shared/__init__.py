"""What several steps need, in packages that import only from those below them.

From the bottom: core, config, records, store, inputs and stats, kubernetes, tracking, models,
engines, sizing, lineage, registry; above them the run's lease and the decorator of every step.
"""
