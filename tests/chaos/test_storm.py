"""Every part is killed while patients book: nothing is lost, doubled or stuck."""

import pytest

from tests.chaos.storm import Storm

SECONDS = 10.0


@pytest.mark.timeout(400)  # it makes a system of its own, and waits until the last hold has run out
@pytest.mark.parametrize("seed", [2026])
async def test_a_storm_leaves_nothing_lost_doubled_or_stuck(seed: int) -> None:
    storm = Storm(seed, print)
    verdict = await storm.run(SECONDS)
    assert verdict.calm, verdict
    assert verdict.accepted > 0
    assert set(storm.tally.kills) == {"Worker", "API", "Valkey", "PostgreSQL", "Temporal"}
