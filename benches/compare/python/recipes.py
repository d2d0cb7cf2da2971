"""python-diskcache at what benches/recipes.rs measures with firncache, under the same names.

Prints a table of both. The one argument is the directory in which criterion has left firncache's
figures; run-recipes calls this.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import diskcache

OPERATIONS = 2_000  # of one round
ROUNDS = 20
COUNT = 1_000_000_000  # calls in a second: so many that none of them waits
TEXT = (
    "A text of one hundred bytes, which both sides store as a text and neither has "
    "to write to a file of..."
)
LEAST_RATIO = 20


def operations(directory):
    """Names, and functions that do the operation with a number."""
    cache = diskcache.Cache(directory / "cache")

    def push_and_pull(_):
        cache.push(TEXT)
        assert cache.pull()[1] is not None

    deque = diskcache.Deque(directory=directory / "deque")

    def ends_of_a_deque(_):
        deque.append(TEXT)
        assert deque.popleft()

    index = diskcache.Index(str(directory / "index"))
    lock = diskcache.Lock(cache, "lock")

    def acquire_and_release(_):
        lock.acquire()
        lock.release()

    @diskcache.throttle(cache, COUNT, 1, name="throttle")
    def throttled(number):
        return number

    averager = diskcache.Averager(cache, "mean")
    cache.set("key", TEXT)

    # There is no get_or_set in python-diskcache: this is how its users write it.
    def get_or_set(_):
        text = cache.get("key")
        if text is None:
            cache.set("key", "")
        assert text

    @cache.memoize(name="text")
    def text(length):
        return TEXT[:length]

    return {
        "push and pull": push_and_pull,
        "deque push_back and pop_front": ends_of_a_deque,
        "index insert": lambda number: index.__setitem__(number, TEXT),
        "lock acquire and release": acquire_and_release,
        "throttle call": throttled,
        "averager add": averager.add,
        "get": lambda _: cache.get("key"),
        "get_or_set_with, a hit": get_or_set,
        "memoized call, a hit": lambda _: text(100),
    }


def seconds(operation):
    """The time of one operation in the best of several rounds, after one that does not count: what
    else the machine has to do makes a round slower, and never faster."""
    numbers = iter(range(OPERATIONS * (ROUNDS + 1)))
    rounds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        for _, number in zip(range(OPERATIONS), numbers):
            operation(number)
        rounds.append((time.perf_counter() - start) / OPERATIONS)
    return min(rounds[1:])


def firncache_seconds(figures, name):
    """The same of what criterion has measured."""
    sample = json.loads((figures / name / "new" / "sample.json").read_text())
    return min(time / count for time, count in zip(sample["times"], sample["iters"])) / 1e9


def main():
    figures = Path(sys.argv[1])
    print("| operation | firncache | python-diskcache | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        for name, operation in operations(Path(directory)).items():
            ours, theirs = firncache_seconds(figures, name), seconds(operation)
            ratio = theirs / ours
            mark = "" if ratio >= LEAST_RATIO else f" (below {LEAST_RATIO})"
            print(f"| {name} | {ours * 1e6:.2f} µs | {theirs * 1e6:.1f} µs | {ratio:.0f}{mark} |")


main()
