"""The long run, `make fuzz`: over a million inputs, each repeatable by its seed.

python -m tests.fuzz                         all targets
python -m tests.fuzz --target chat --seed 7  one of them, other inputs
python -m tests.fuzz --input 'chat:0:123'    one input again, its traceback shown
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.running import Target, is_accepted, warm_up
from tests.fuzz.targets import TARGETS

_SHOWN = 5


@dataclass
class Tally:
    """What came of one target's inputs."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: dict[str, list[str]] = field(default_factory=dict)
    """Name of an input by what went wrong."""


def main() -> int:
    """Draw and parse; return 1 where something was found."""
    given = _arguments()
    if given.input:
        return _again(given.input)
    chosen = [each for each in TARGETS if given.target in ("", each.name)]
    tallies = {}
    for target in chosen:
        tallies[target.name] = _drawn(target, given.seed, given.share)
        print(_line(target.name, tallies[target.name]), flush=True)
        for what, names in tallies[target.name].findings.items():
            print(f"    {len(names)} times {what}; --input {names[0]!r}", flush=True)
    every = list(tallies.values())
    found = sum(len(each.findings) for each in every)
    inputs, seconds = sum(each.inputs for each in every), sum(each.seconds for each in every)
    print(f"| **all** | {inputs:,} | | {seconds:.0f} | | {found} |")
    return int(bool(found))


def _drawn(target: Target, seed: int, share: float) -> Tally:
    tally = Tally()
    warm_up(target)
    began = time.monotonic()
    for number in range(max(1, round(target.inputs * share))):
        name = f"{target.name}:{seed}:{number}"
        value = target.make(Random(name))
        start = time.process_time()
        try:
            tally.accepted += is_accepted(target, value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            tally.findings.setdefault(_described(error), []).append(name)
        tally.inputs += 1
        tally.slowest = max(tally.slowest, time.process_time() - start)
    tally.seconds = time.monotonic() - began
    return tally


def _described(error: BaseException) -> str:
    """Return where and what went wrong, the same for inputs that go wrong alike."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "site-packages" not in f.filename), frames[-1])
    words = "" if type(error) is AssertionError and not str(error) else str(error)[:60]
    return f"{type(error).__name__} {words!r} at {place.filename.split('/')[-1]}:{place.lineno}"


def _line(name: str, tally: Tally) -> str:
    share = tally.accepted / tally.inputs
    return (
        f"| {name} | {tally.inputs:,} | {share:.0%} | {tally.seconds:.0f} | "
        f"{tally.slowest * 1000:.0f} | {len(tally.findings)} |"
    )


def _again(name: str) -> int:
    target = next(each for each in TARGETS if each.name == name.rsplit(":", 2)[0])
    warm_up(target)
    value = target.make(Random(name))
    print(repr(value)[:5000])
    print("accepted" if is_accepted(target, value) else "refused")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--target", default="", choices=[each.name for each in TARGETS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of each target's inputs")
    parser.add_argument("--input", default="", metavar="TARGET:SEED:NUMBER")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
