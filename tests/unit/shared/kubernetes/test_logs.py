"""A pod's log, followed by polling: every line once, whatever it holds."""

from __future__ import annotations

from lidr.components.shared.kubernetes.logs import LogFollower, SharedProgress, progress_in
from lidr.components.shared.kubernetes.pods import why_waiting

POD = {"metadata": {"name": "p", "uid": "u"}, "status": {}}


class Written:
    """A container's log, as the API server gives it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, pod: str, container: str, **options: object) -> str:
        stamped = (f"2026-12-01T00:00:{at:02}Z {line}\n" for at, line in enumerate(self.lines))
        return "".join(stamped)


def test_a_progress_bar_s_carriage_returns_are_no_lines():
    written = Written()
    follower = LogFollower(written)
    told = []
    for line in ("begins", "\rLoading:  50%|x\u2028100%| done", "goes on", "ends"):
        written.lines.append(line)
        told += follower.new_lines(POD)
    assert told == written.lines


def test_the_last_line_of_an_ended_pod_needs_no_line_break():
    class Cut(Written):
        def log(self, pod: str, container: str, **options: object) -> str:
            return super().log(pod, container, **options).removesuffix("\n")

    cut = Cut()
    follower = LogFollower(cut)
    cut.lines += ["whole", "out of mem"]
    assert follower.new_lines(POD) == ["whole"], "more of it may come"
    ended = POD | {"status": {"phase": "Failed"}}
    assert follower.new_lines(ended) == ["out of mem"]
    assert follower.new_lines(ended) == []


def test_progress_is_read_whole():
    line = "lidr progress step=evaluate done=3 total=9 unit=answer choices failures={'empty': 1}"
    found = progress_in(line)
    assert found is not None
    assert (found["unit"], found["failures"]) == ("answer choices", {"empty": 1})


def test_progress_of_shards_is_added_up(monkeypatch):
    told: list[dict[str, object]] = []
    monkeypatch.setattr(
        "lidr.components.shared.kubernetes.logs.emit", lambda event, **values: told.append(values)
    )
    shared = SharedProgress()
    for node, rate in enumerate((0.1, 0.2)):
        line = f"lidr progress done=1 total=2 rate={rate} failures={{'empty': {node + 1}}}"
        shared.add(node, [line])
    shared.report()
    assert told == [{"done": 2, "total": 4, "rate": 0.3, "failures": {"empty": 3}}]


def test_a_pod_whose_init_container_cannot_start_says_why():
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    status = {
        "containerStatuses": [
            {"name": "node", "state": {"waiting": {"reason": "PodInitializing"}}}
        ],
        "initContainerStatuses": [{"name": "fetch", **waiting}],
    }
    assert why_waiting(POD | {"status": status}) == "fetch: ImagePullBackOff: no such image"
