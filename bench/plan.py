"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Counts, and durations in seconds. Everything that a run does is bounded by these."""

    connections: tuple[int, ...]
    read_rounds: int
    read_seconds: int
    warm_bookings: int
    single_bookings: int
    parallel_bookings: int
    rounds: int
    open_seconds: int
    storm: int
    logins: int
    doctors: int
    # How many doctors can be read for the first time; more than a run of misses can reach.
    directory: int
    # Of the directory, one after another; for each of them rounds of a second.
    sizes: tuple[int, ...]
    size_rounds: int
    # Before commits are counted: how long idle connections keep theirs to themselves. 0 leaves that figure out.
    settle_seconds: float
    limit_seconds: float


WIDTH = 16
OPEN_RATE = 12

FULL = Plan(
    connections=(1, 32),
    read_rounds=4,
    read_seconds=1,
    warm_bookings=60,
    single_bookings=100,
    parallel_bookings=320,
    rounds=2,
    open_seconds=60,
    storm=300,
    logins=200,
    doctors=20,
    directory=20_000,
    sizes=(1_000, 10_000, 100_000),
    size_rounds=2,
    settle_seconds=11,
    limit_seconds=900,
)
QUICK = Plan(
    connections=(32,),
    read_rounds=1,
    read_seconds=1,
    warm_bookings=20,
    single_bookings=20,
    parallel_bookings=80,
    rounds=1,
    open_seconds=3,
    storm=100,
    logins=40,
    doctors=6,
    directory=6_000,
    sizes=(1_000,),
    size_rounds=1,
    settle_seconds=0,
    limit_seconds=180,
)
