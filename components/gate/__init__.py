"""Gate: decides whether M_{t+1} takes the place of M_t. Imports `shared`."""
