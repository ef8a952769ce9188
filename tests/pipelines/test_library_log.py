from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from lidr.pipelines.cli.library_log import logging_libraries

with logging_libraries(Path(sys.argv[1])) as terminal:
    print("progress of a command", file=terminal, flush=True)
    print("a library's words")
    os.write(2, b"a library's C code\\n")
    subprocess.run(["git", "-C", "/", "describe", "--always"])
print("the result")
print("an error", file=sys.stderr)
"""


def test_what_libraries_print_is_in_the_log_alone(tmp_path: Path):
    log = tmp_path / "cache" / "evaluate.log"
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(log)], capture_output=True, text=True, check=True
    )
    assert told.stdout == "the result\n"
    assert told.stderr == "progress of a command\nan error\n"
    written = log.read_text()
    assert "a library's words\n" in written and "a library's C code\n" in written
    assert "fatal: not a git repository" in written
