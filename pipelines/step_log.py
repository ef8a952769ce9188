"""Separates a step's own lines in its pod's log from those printed around them.

A step runs inside KFP's executor (Python), KFP's launcher and Argo's emissary (both Go). All of
them write to the same log: the step's whole input as JSON, its output, their own progress.
"""

from __future__ import annotations

import re

_GLOG = re.compile(r"()([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6}\s+\d+ \S+?:\d+\] ?(.*)")
_EXECUTOR = re.compile(r"(\s*)(\[KFP Executor) [-\d]+ [:,\d]+ (?:INFO|DEBUG)\]: (.*)")
"""Indentation (kfp.local indents a step's output), writer and text. Warnings are not matched: they
come from the step's libraries, whose loggers KFP's executor has set up."""

_ARGO = re.compile(r"""time="?\d{4}-\S+ level=\w+ msg=.*\bargo=true\b|\{"time":".*"argo":true\b""")
_FAILED = re.compile(r"lidr failed (?:.*? )?message=(.*?)(?: exit_code=\d+)?")
_CALL = re.compile(r"KFP driver: driver\.\w+\(.*?\) failed: ")
"""What a driver prints before its error: its call with all arguments."""

_MAX_CHARS = 300
"""Most characters of a launcher's error that are shown: the last ones."""

_NO_CAUSE = re.compile(r"exit status \d+$|signal: \w+$|[sS]kipping publish")


class OwnLines:
    """Finds a step's own lines in a log that is read in order."""

    def __init__(self) -> None:
        self._json: tuple[str, str] | None = None
        """First and last line of the JSON being printed; the first is "" once it was seen."""
        self._ended = False

    def has(self, line: str) -> bool:
        """Return whether the step itself wrote a line."""
        if self._ended:
            return False
        if self._json and self._skips(self._json, line):
            return False
        if found := _GLOG.match(line) or _EXECUTOR.match(line):
            indent, _, text = found.groups()
            if text.endswith(("{", "_input:")):
                self._json = "" if text.endswith("{") else f"{indent}{{", f"{indent}}}"
            return False
        argo = _ARGO.match(line)
        self._ended = argo is not None and "sub-process exited" in line
        return not argo

    def _skips(self, json: tuple[str, str], line: str) -> bool:
        """Return whether a line belongs to the JSON that is being printed."""
        begins, ends = json
        self._json = None
        if begins and line != begins:  # all of it on one line, or something else
            return line == begins + "}"
        inside = line.startswith(ends[:-1] + " ")
        if begins or inside:
            self._json = "", ends
        return bool(begins) or inside or line == ends


def last_words(log: str) -> str:
    """Return a failed step's error or last line; if no step failed, the launcher's error.

    Args:
        log: the end of its pod's log.
    """
    lines = log.splitlines()
    own = OwnLines()
    own_lines = [line for line in lines if own.has(line) and line.strip()]
    for line in reversed(own_lines):
        if found := _FAILED.fullmatch(line):
            return found[1]
        if line.startswith("lidr started"):  # of several steps the last one failed
            break
        if line.startswith("lidr finished"):
            return launcher_error(log)
    return own_lines[-1].strip() if own_lines else launcher_error(log)


def launcher_error(log: str) -> str:
    """Return the last error of Kubeflow's launcher or driver that names a cause, or "".

    Args:
        log: the end of its pod's log.
    """
    found = [match for line in log.splitlines() if (match := _GLOG.match(line))]
    causes = [match[3] for match in found if match[2] in "EF" and not _NO_CAUSE.search(match[3])]
    cause = _CALL.sub("", causes[-1]) if causes else ""
    return cause if len(cause) <= _MAX_CHARS else f"... {cause[-_MAX_CHARS:]}"
