"""Translate: M_t translates its own answers. Imports `rollout` and `shared`."""
