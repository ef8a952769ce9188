"""Bring MLflow's tables up to date, one replica at a time: two on an empty database would clash."""

import subprocess
import sys
import time

import psycopg2

URL = "postgresql+psycopg2:///mlflow"
LOCK = 0x6C696472
SECONDS = 300
"""For the database to answer: it may start beside this pod, and the pod's own NetworkPolicies take
seconds to arrive."""


def connect() -> psycopg2.extensions.connection:
    """Return a connection as soon as there is one; give up when `SECONDS` are over."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return psycopg2.connect("", connect_timeout=5)
        except psycopg2.OperationalError as error:
            if time.monotonic() > end:
                raise
            print(f"no database yet, asked again: {error}", flush=True)
            time.sleep(2)


# The lock is gone with the connection, also when this process is killed.
connection = connect()
connection.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK])
for command in (
    [sys.executable, "-m", "mlflow", "db", "upgrade", URL],
    [sys.executable, "-m", "mlflow.server.auth", "db", "upgrade", "--url", URL],
):
    subprocess.run(command, check=True)
