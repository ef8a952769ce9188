"""Faults: pods die and servers stop at random moments; every run ends with the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster.cluster import ROOT, Cluster, require
from tests.cluster.contents import local_run
from tests.cluster.faults.journal import Journal, Row, counted, markdown, rows
from tests.cluster.faults.series import Series
from tests.faults.lives import SIZES as SMALL

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- cluster: begin -->", "<!-- cluster: end -->"


def faults(cluster: Cluster) -> str:
    """Inject the faults still to do; count those whose runs have ended and were compared."""
    wanted = local_run(cluster.options.folder, tuple(SMALL), "small")
    journal = Journal(cluster.options.folder / f"faults-{cluster.options.seed}.jsonl")
    try:
        Series(cluster, journal, wanted).run()
    finally:
        found = rows(journal.entries())
        sums = counted(found)
        cluster.figures.kills = sums["tried"]
        print(markdown(found), flush=True)
    told = (
        f"{sums['tried']} faults: {sums['alone']} runs went on by themselves, {sums['again']} by "
        f"the same command; {sums['equal']} ended with the bytes of the undisturbed run"
    )
    require(sums["equal"] == sums["tried"], told)
    asked = cluster.options.kills
    require(sums["tried"] >= asked, f"{told}; {asked} were asked for")
    write(found, cluster.options.seed)
    return told


def write(found: list[Row], seed: int, file: Path = PAGE) -> None:
    """Put the table into docs/reliability.md, between its comments, unless that there has more."""
    page = file.read_text("utf-8")
    if BEGIN not in page or counted(found)["tried"] < faults_told(page):
        return
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    table = f"Seed {seed}.\n\n{markdown(found)}"
    file.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def faults_told(page: str) -> int:
    """Return how many faults the page's own table counts."""
    table = page.split(BEGIN)[1].split(END)[0]
    found = re.search(r"\*\*all\*\* \| (\d+)", table)
    return int(found[1]) if found else 0
