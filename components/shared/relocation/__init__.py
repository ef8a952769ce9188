"""A store that has moved: the registry (`registry.py`) and the runs (`pointers.py`) follow it."""
