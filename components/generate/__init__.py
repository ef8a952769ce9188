"""Generate: M_t answers every prompt in every language. Imports `rollout` and `shared`."""
