"""Waiting for a condition, never for a time."""

import time


def wait_until(predicate, seconds=30, what="the condition"):
    """
    Calls `predicate` until it returns something true, and returns that.

    An AssertionError or OSError inside the predicate counts as "not yet" (a server that is still coming up refuses
    connections); the last one is shown if the time runs out.  The limit is generous: it is only met by a failure.
    """
    deadline = time.monotonic() + seconds
    pause = 0.005
    while True:
        last = None
        try:
            last = predicate()
            if last:
                return last
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}; last seen: {last!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def holds_for(predicate, seconds, what="the condition"):
    """
    Asserts that `predicate` stays true for the whole time: for promises that something does *not* happen.

    Choose the time as a multiple of the period after which it would have happened.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert predicate(), f"{what} did not hold for {seconds} s"
        time.sleep(0.05)
