"""Merge: the shards of a rollout become one stage. Imports `rollout` and `shared`."""
