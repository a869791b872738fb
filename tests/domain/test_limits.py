"""How much is admitted, and how the wait after wrong guesses grows and goes away again."""

from hypothesis import given
from hypothesis import strategies as st

from amrutam.domain.limits import (
    ACCOUNT,
    DEVICE,
    DEVICES,
    HERE,
    NETWORK,
    SECOND,
    Guesses,
    Patience,
    Quota,
    admit,
    guess,
    remembered,
    taken_back,
)

MINUTE = 60 * SECOND


@given(
    steps=st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 10)), max_size=60),
    units=st.integers(10, 100),
)
def test_nobody_is_admitted_more_than_the_quota_and_what_comes_back_in_the_time(
    steps: list[tuple[int, int]], units: int
) -> None:
    quota = Quota(units, 60)
    whole, spent, now, used = quota.interval * units, 0, 0, 0
    for pause, weight in steps:
        now += pause
        decision = admit(spent - pause, weight * quota.interval, whole)
        spent = decision.spent
        used += 0 if decision.wait else weight
        assert 0 <= spent <= whole
        assert used * quota.interval <= whole + now


@given(spent=st.integers(0, MINUTE), weight=st.integers(1, 10))
def test_who_waits_for_as_long_as_told_is_admitted_and_not_sooner(spent: int, weight: int) -> None:
    quota = Quota(60, 60)
    cost, whole = weight * quota.interval, quota.units * quota.interval
    wait = admit(spent, cost, whole).wait
    assert admit(spent - wait, cost, whole).wait == 0
    if wait:
        assert admit(spent - wait + 1, cost, whole).wait == 1


def test_a_clock_that_jumped_back_closes_no_door_for_longer_than_a_whole_quota() -> None:
    assert admit(spent=10**15, cost=SECOND, whole=MINUTE).wait == SECOND


def test_the_wait_doubles_from_one_second_to_a_quarter_of_an_hour() -> None:
    guesses, now, waits = Guesses(), 0, list[float]()
    for _ in range(20):
        guesses = guess(guesses, HERE, now)
        waits.append((guesses.closed_until - now) / SECOND)
        now = max(now, guesses.closed_until)
    assert waits[:13] == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert waits == sorted(waits)
    assert waits[-1] == 900


def test_what_was_guessed_is_forgotten_with_time() -> None:
    guesses = Guesses()
    for _ in range(HERE.allowance):
        guesses = guess(guesses, HERE, 0)
    assert remembered(guesses, HERE, HERE.forget) == HERE.allowance - 1
    assert remembered(guesses, HERE, 100 * HERE.forget) == 0
    assert guess(guesses, HERE, 100 * HERE.forget) == Guesses(1, 100 * HERE.forget, 100 * HERE.forget)


def test_however_many_guesses_there_were_it_is_over_within_some_hours() -> None:
    for patience in (HERE, DEVICE):
        guesses, now = Guesses(), 0
        for _ in range(10_000):
            guesses = guess(guesses, patience, now)
        assert remembered(guesses, patience, 5 * 3600 * SECOND) == 0


def test_an_account_hears_at_most_a_hundred_strangers_in_an_hour_however_many_networks_they_have() -> None:
    guesses, now, heard = Guesses(), 0, 0
    while now < 3600 * SECOND:
        guesses = guess(guesses, ACCOUNT, now)
        heard += 1
        now = max(now, guesses.closed_until)
    assert heard < 100


@given(
    failures=st.integers(0, 40),
    patience=st.sampled_from([HERE, ACCOUNT, NETWORK, DEVICE, DEVICES]),
)
def test_a_right_guess_leaves_what_was_there_before_it(failures: int, patience: Patience) -> None:
    guesses = Guesses()
    for _ in range(failures):
        guesses = guess(guesses, patience, 0)
    after = taken_back(guess(guesses, patience, 0))
    assert after.failures >= min(guesses.failures, patience.allowance)
    assert after.failures <= guesses.failures
    assert after.closed_until == 0
