"""Report: one HTML page and one JSON file about a run, a model or two runs. Imports `shared`."""
