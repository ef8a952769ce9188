"""State: what an iteration leaves for the next one, on the store. Imports `shared`."""
