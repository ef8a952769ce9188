"""Bring MLflow's tables up to date, one replica at a time: two on an empty database would clash."""

import subprocess
import sys

import psycopg2

URL = "postgresql+psycopg2:///mlflow"
LOCK = 0x6C696472

# The lock is gone with the connection, also when this process is killed.
connection = psycopg2.connect("")
connection.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK])
for command in (
    [sys.executable, "-m", "mlflow", "db", "upgrade", URL],
    [sys.executable, "-m", "mlflow.server.auth", "db", "upgrade", "--url", URL],
):
    subprocess.run(command, check=True)
