"""A run on this machine that stands still: the process with its screen tells of it."""

from __future__ import annotations

from lidr.components.shared.config.notify import Notify
from lidr.components.shared.store.local import LocalStore
from lidr.pipelines.notices import local
from lidr.pipelines.notices.local import with_notices
from tests.kubernetes_api import wait_until
from tests.receivers import receiving


def test_step_that_stands_still_is_told_while_the_screen_goes_on(tmp_path, monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr(local.time, "time", lambda: moment[0])
    monkeypatch.setattr(local, "_CHECK_SECONDS", 0.0)
    store, drawn = LocalStore(tmp_path), []

    with receiving() as receiver:
        settings = Notify(silent_minutes=30)
        watch = with_notices(drawn.append, store, "mine", settings, receiver.url)
        begun = {"event": "started", "step": "train", "iteration": 1, "time": 0.0}
        watch([begun])

        def looked() -> bool:
            watch([])
            return store.exists("runs/mine/notices/seen.json")

        def told() -> bool:
            watch([])
            return bool(receiver.received)

        wait_until(looked)
        moment[0] = 1000.0 + 60 * 31
        wait_until(told)
        moment[0] = 1000.0 + 60 * 50
        for _ in range(20):
            watch([])
    assert [body["text"] for _, body in receiver.received] == [
        "lidr: M_1 train of run mine has made no progress for 31 minutes."
    ]
    assert drawn[0] == [begun] and len(drawn) > 20, "each batch of events is drawn"
