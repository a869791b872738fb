"""A doctor's rating, kept by differences, is what a recount gives, whatever several patients do at once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amrutam.crypto import Keyring
from amrutam.domain.reviews import NOTHING, Decision, Review, ReviewState, first_state
from amrutam.ids import new_id
from amrutam.invariants import INVARIANTS
from amrutam.storage import reviews
from amrutam.storage.person_keys import DataKey, PersonKeys
from amrutam.storage.pool import Connection, Database
from amrutam.verify import Scope, offenders
from tests.people import People
from tests.visits import completed_visit

RATING = "a doctor's rating is the sum of the reviews that are published"
VISIT = "a review is of a completed booking, by its patient and of its doctor"


class Act(NamedTuple):
    """What somebody does to the review of a visit."""

    what: str
    stars: int


ACTS = st.builds(Act, st.sampled_from(["stars", "words", "bare", "publish", "reject", "withdraw"]), st.integers(1, 5))
# Each patient's acts in order; the patients all at once.
STORIES = st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.lists(ACTS, max_size=5)), min_size=1, max_size=6)


class Author(NamedTuple):
    """A patient of a doctor."""

    id: UUID
    key: DataKey
    doctor: UUID


async def _author(db: Database, keys: PersonKeys, people: People) -> Author:
    doctor, patient = await people.doctor(), await people.patient()
    async with db.connection() as connection:
        return Author(patient.id, await keys.of(connection, patient.id), doctor.id)


async def _written(db: Database, author: Author, text: str | None, stars: int) -> Review:
    patient, key, doctor = author
    visit, review_id = await completed_visit(db, patient, doctor), new_id()
    until = datetime.now(UTC) + timedelta(days=1)
    words = reviews.sealed(key, review_id, "text", text)
    new = reviews.NewReview(review_id, visit, doctor, patient, stars, words, first_state(text), until)
    async with db.transaction() as connection:
        review = await reviews.insert(connection, new)
        assert review
        await reviews.count(connection, doctor, review.weight.since(NOTHING))
    return review


async def _do(db: Connection, review: Review, key: DataKey, act: Act) -> Review:
    match act.what:
        case "stars":
            return await reviews.edit(db, review.id, act.stars, review.text, review.state)
        case "words":
            words = reviews.sealed(key, review.id, "text", "Other words.")
            return await reviews.edit(db, review.id, act.stars, words, ReviewState.PENDING)
        case "bare":
            return await reviews.edit(db, review.id, act.stars, None, ReviewState.PUBLISHED)
        case "withdraw":
            return await reviews.withdraw(db, review.id)
        case decision:
            state = ReviewState.PUBLISHED if decision == Decision.PUBLISH else ReviewState.REJECTED
            return await reviews.moderate(db, review.id, state, review.patient_id, None)


async def _told(db: Database, author: Author, words: bool, stars: int, acts: Sequence[Act]) -> None:
    review = await _written(db, author, "Words." if words else None, stars)
    for act in acts:
        async with db.transaction() as connection:
            before = await reviews.find(connection, review.id)
            if before is None:  # withdrawn
                return
            before = await reviews.lock(connection, review.id)
            after = await _do(connection, before, author.key, act)
            await reviews.count(connection, author.doctor, after.weight.since(before.weight))


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stories=STORIES)
async def test_the_rating_is_what_a_recount_gives(
    wide: Database, person_keys: PersonKeys, people: People, stories: list[tuple[bool, int, list[Act]]]
) -> None:
    author = await _author(wide, person_keys, people)
    doctor = author.doctor
    await asyncio.gather(*(_told(wide, author, *story) for story in stories))
    async with wide.connection() as db:
        kept = await db.fetchrow("SELECT rating_sum, rating_count, rating_average FROM doctors WHERE id = $1", doctor)
        counted = await db.fetchrow(
            """SELECT coalesce(sum(stars), 0)::bigint, count(*), avg(stars)::real
               FROM reviews WHERE doctor_id = $1 AND state = 'published'""",
            doctor,
        )
    assert kept
    assert counted
    assert tuple(kept) == tuple(counted)


async def test_verify_finds_a_rating_that_lost_a_change_and_a_review_without_a_visit(
    owner: Database, person_keys: PersonKeys, people: People
) -> None:
    author = await _author(owner, person_keys, people)
    doctor, review = author.doctor, await _written(owner, author, None, 4)
    assert (await _found(owner, RATING), await _found(owner, VISIT)) == (set(), set())
    async with owner.transaction() as db:
        await db.execute("UPDATE doctors SET rating_sum = rating_sum + 1 WHERE id = $1", doctor)
        await db.execute("UPDATE bookings SET status = 'no_show' WHERE id = $1", review.booking_id)
    assert (await _found(owner, RATING), await _found(owner, VISIT)) == ({str(doctor)}, {str(review.id)})
    async with owner.transaction() as db:
        await db.execute("UPDATE doctors SET rating_sum = rating_sum - 1 WHERE id = $1", doctor)
        await db.execute("UPDATE bookings SET status = 'completed' WHERE id = $1", review.booking_id)


async def test_the_words_of_somebody_who_was_erased_are_gone_and_the_stars_stay(
    owner: Database, keyring: Keyring, person_keys: PersonKeys, people: People
) -> None:
    author = await _author(owner, person_keys, people)
    review = await _written(owner, author, "Words.", 4)
    async with owner.transaction() as db:
        published = await reviews.moderate(db, review.id, ReviewState.PUBLISHED, author.id, None)
        await reviews.count(db, author.doctor, published.weight.since(NOTHING))
        assert [each.text for each in await _shown(db, keyring, author)] == ["Words."]
        await db.execute("DELETE FROM data_keys WHERE person_id = $1", author.id)
        assert [(each.stars, each.text) for each in await _shown(db, keyring, author)] == [(4, None)]


async def _shown(db: Connection, keyring: Keyring, author: Author) -> list[reviews.PublicReview]:
    """By a process that has not read them before."""
    return await reviews.published(db, PersonKeys(keyring), author.doctor, None, 10)


async def _found(db: Database, name: str) -> set[str]:
    [invariant] = [each for each in INVARIANTS if each.name == name]
    scope = Scope(datetime.now(UTC) - timedelta(minutes=5), grace=timedelta(0))
    async with db.transaction() as connection:
        return set(await offenders(connection, invariant, scope))
