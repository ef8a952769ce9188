"""`python -m lidr.pipelines.cli` is `lidr`."""

from lidr.pipelines.cli import main

main()
