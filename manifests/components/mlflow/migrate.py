"""Migrate MLflow's tables, one replica at a time: two at once fail on an empty database."""

import subprocess
import sys
import time

import psycopg2

URL = "postgresql+psycopg2:///mlflow"
LOCK = 0x6C696472
SECONDS = 300
"""For the database to answer: it may start at the same time as this pod, whose NetworkPolicies also
take seconds to be applied."""


def connect() -> psycopg2.extensions.connection:
    """Connect, and retry for `SECONDS`."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return psycopg2.connect("", connect_timeout=5)
        except psycopg2.OperationalError as error:
            if time.monotonic() > end:
                raise
            print(f"no database yet, retrying: {error}", flush=True)
            time.sleep(2)


# The lock is released with the connection, even if this process is killed.
connection = connect()
connection.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK])
for command in (
    [sys.executable, "-m", "mlflow", "db", "upgrade", URL],
    [sys.executable, "-m", "mlflow.server.auth", "db", "upgrade", "--url", URL],
):
    subprocess.run(command, check=True)
