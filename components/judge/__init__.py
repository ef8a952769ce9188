"""Judge: a language model judges M_t's open-ended answers. Imports `judging` and `shared`."""
