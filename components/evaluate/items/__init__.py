"""Where evaluation items come from: local files and data sets, checked. Imports `shared`."""
