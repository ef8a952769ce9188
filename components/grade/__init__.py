"""Grade: a judge grades M_t's responses, for the rewarder judge. Imports `judging`, `rollout`."""
