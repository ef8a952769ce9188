"""`python -m pipelines.cli` is `lidr`."""

from pipelines.cli import main

main()
