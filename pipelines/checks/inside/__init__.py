"""`lidr check --in-cluster`: one small pod for each kind of step, and what it sees from inside."""
