"""Register: makes an iteration's model a version in MLflow's registry. Imports `shared`."""
