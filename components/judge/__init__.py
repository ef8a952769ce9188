"""Judge: a language model compares answers of M_t and M_{t+1}. Imports `shared`."""
