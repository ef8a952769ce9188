"""Score: implicit rewards of M_t's responses, for the rewarder icr. Imports `rollout`, `shared`."""
