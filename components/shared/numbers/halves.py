"""Finds a half after a number and what it counts: 两个半小时, 二時間半 and 2시간 반 (2.5 hours)."""

from __future__ import annotations

import re

_COUNTED = (
    "[个個](?:小时|小時|月|星期|礼拜|禮拜)?|小时|小時|時間|分[钟鐘間]?|週間|[ヶケかカヵ箇]月"
    "|[年天日周週秒倍斤米里尺杯瓶碗块塊歳岁]"
)
"""Not 点 and 時: 三点半 and 三時半 are times of day."""
_OTHER_WORDS = "径徑圆圓円球场場价價额額成数數导導决決边邊段面身岛島程路夜天日年分ば袖音"
"""半径 is a radius, 半天 half a day."""
_KOREAN = r" ?(?:시간|개월|년|달|주|일|분|배|잔|컵) ?반(?=[이을은에의만후전입]|동안|정도|쯤|\W|\Z)"
_HALF = re.compile(rf"[ \u00a0]?(?:{_COUNTED})半(?![{_OTHER_WORDS}])|{_KOREAN}")


def half_end(text: str, number_end: int) -> int:
    """Return where the half ends that follows a number, or 0 if none does."""
    found = _HALF.match(text, number_end)
    return found.end() if found else 0
