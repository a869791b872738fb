"""Reviews over HTTP: read by everyone, written, edited and withdrawn by the patient whose visit it was."""

import hashlib
from datetime import timedelta
from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.common import Role
from amrutam.domain.reviews import (
    NOTHING,
    EditReview,
    Review,
    ReviewChanged,
    WriteReview,
    check_reviewable,
    first_state,
)
from amrutam.domain.verification import kept_for
from amrutam.storage import audit, booking, doctor, events
from amrutam.storage import reviews as storage
from amrutam.storage.cache import SEARCH_GROUP, doctor_group, reviews_group
from amrutam.storage.pool import Connection
from web import paging
from web.consistency import at_least
from web.context import Answer, Call, version_tag
from web.doctor import public
from web.idempotency import once
from web.review_views import OwnReview, OwnReviewPage, PublicReview, PublicReviewPage, own
from web.routing import EVERYONE, Feature, Idempotency

reviews = Feature("reviews")

# How old an answer may be, in seconds, where the news of a change was lost.
REVIEWS_TTL = 300.0

ITS_AUTHOR = "the caller's own review"


@reviews.route(
    "GET",
    "/v1/doctors/{id}/reviews",
    allow=EVERYONE,
    owns="public; published reviews of verified doctors only",
    answers={200: PublicReviewPage},
    errors=[errors.NotFound, errors.InvalidCursor],
)
async def list_of_doctor(call: Call, id: UUID, query: paging.Page) -> Answer:
    """What patients thought of a doctor, the newest first. Nobody learns whose review it is."""
    before = paging.position(call, query)

    async def fill(db: Connection) -> bytes | None:
        if await doctor.find_verified(db, id) is None:
            return None
        found = await storage.published(db, call.services.person_keys, id, before, query.limit + 1)
        shown = [PublicReview.model_validate(each._asdict()) for each in found[: query.limit]]
        next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
        return PublicReviewPage(items=shown, next_cursor=next_cursor).model_dump_json().encode()

    key = hashlib.blake2b(query.model_dump_json().encode(), digest_size=16).hexdigest()
    ttl = kept_for(REVIEWS_TTL, call.now)
    return public(await call.services.cache.get(reviews_group(id), key, ttl, fill, at_least(call)))


@reviews.route(
    "POST",
    "/v1/doctors/{id}/reviews",
    allow=[Role.PATIENT],
    owns="the patient whose visit it was",
    answers={201: OwnReview},
    errors=[errors.NotFound, errors.InvalidState],
    idempotency=Idempotency.REQUIRED,
    audited=True,
)
async def write(call: Call, id: UUID, command: WriteReview) -> Answer:
    """Review a completed visit, once. Stars alone count at once; a text is shown when somebody has read it.

    A review may be edited for 14 days, and withdrawn at any time.
    """
    review_id = call.required_operation.id

    async def edit(db: Connection) -> bytes:
        visit = await booking.find(db, command.booking_id)
        if visit is None:
            raise errors.NotFound
        if visit.patient_id != call.user_id:
            raise errors.NotYours(visit.patient_id)
        check_reviewable(visit, id)
        key = await call.services.person_keys.of(db, call.user_id)
        new = storage.NewReview(
            id=review_id,
            booking_id=visit.id,
            doctor_id=id,
            patient_id=call.user_id,
            stars=command.stars,
            text=storage.sealed(key, review_id, "text", command.text),
            state=first_state(command.text),
            editable_until=call.now + timedelta(days=call.services.settings.review_edit_days),
        )
        review = await storage.insert(db, new)
        if review is None:
            raise errors.InvalidState("You have reviewed this visit already.", pointer="/booking_id")
        await audit.append(db, call.actor, "review.write", review_id)
        await events.append(db, ReviewChanged(subject=review_id, doctor_id=id, state=review.state))
        await storage.count(db, id, review.weight.since(NOTHING))
        return review.model_dump_json().encode()

    review = Review.model_validate_json(await once(call, edit))
    await forget(call, review)
    return await _answer(call, review, 201, {"Location": f"/v1/reviews/{review.id}"})


@reviews.route(
    "GET",
    "/v1/reviews/{id}",
    allow=[Role.PATIENT],
    owns=ITS_AUTHOR,
    answers={200: OwnReview},
    errors=[errors.NotFound],
)
async def read(call: Call, id: UUID) -> Answer:
    """One review of the caller's own."""
    async with call.services.db.connection() as db:
        review = await storage.find(db, id)
    if review is None:
        raise errors.NotFound
    _check_own(call, review)
    return await _answer(call, review)


@reviews.route(
    "PATCH",
    "/v1/reviews/{id}",
    allow=[Role.PATIENT],
    owns=ITS_AUTHOR,
    answers={200: OwnReview},
    errors=[errors.NotFound, errors.InvalidState, errors.Stale],
    audited=True,
)
async def edit(call: Call, id: UUID, command: EditReview) -> Answer:
    """Change stars or text, within 14 days of writing it. Another text waits until somebody has read it."""
    async with call.services.db.transaction() as db:
        before = await storage.lock(db, id)
        _check_own(call, before)
        call.check_if_match(version_tag(before.version))
        before.check_editable(call.now)
        key = await call.services.person_keys.of(db, call.user_id)
        old = storage.text_of(before, key)
        text = command.text_of(old)
        state = before.state if text == old else first_state(text)
        words = before.text if text == old else storage.sealed(key, id, "text", text)
        after = await storage.edit(db, id, command.stars_of(before), words, state)
        await audit.append(db, call.actor, "review.edit", id)
        await note_change(db, before, after)
    await forget(call, after)
    return await _answer(call, after)


@reviews.route(
    "DELETE",
    "/v1/reviews/{id}",
    allow=[Role.PATIENT],
    owns=ITS_AUTHOR,
    answers={204: None},
    errors=[errors.NotFound],
    audited=True,
)
async def withdraw(call: Call, id: UUID) -> Answer:
    """Take a review back, for good: its words are deleted, and the visit is not reviewed again."""
    async with call.services.db.transaction() as db:
        before = await storage.lock(db, id)
        _check_own(call, before)
        after = await storage.withdraw(db, id)
        await audit.append(db, call.actor, "review.withdraw", id)
        await note_change(db, before, after)
    await forget(call, after)
    return Answer(status=204)


@reviews.route(
    "GET",
    "/v1/me/reviews",
    allow=[Role.PATIENT],
    owns="the caller's own reviews",
    answers={200: OwnReviewPage},
    errors=[errors.InvalidCursor],
)
async def list_own(call: Call, query: paging.Page) -> Answer:
    """The caller's reviews, the newest first."""
    before = paging.position(call, query)
    async with call.services.db.connection() as db:
        found = await storage.of_patient(db, call.user_id, before, query.limit + 1)
        key = await call.services.person_keys.of(db, call.user_id)
    shown = found[: query.limit]
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(OwnReviewPage(items=[own(each, key, call.now) for each in shown], next_cursor=next_cursor))


async def note_change(db: Connection, before: Review, after: Review) -> None:
    """The fact, and last of all the doctor's rating."""
    await events.append(db, ReviewChanged(subject=after.id, doctor_id=after.doctor_id, state=after.state))
    await storage.count(db, after.doctor_id, after.weight.since(before.weight))


async def forget(call: Call, review: Review) -> None:
    """What shows the review or the rating. Only shortens the wait for the relay."""
    groups = (reviews_group(review.doctor_id), doctor_group(review.doctor_id), SEARCH_GROUP)
    await call.services.cache.invalidate(*groups)


def _check_own(call: Call, review: Review) -> None:
    if review.patient_id != call.user_id:
        raise errors.NotYours(review.patient_id)


async def _answer(call: Call, review: Review, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """The review for its author; that of a stored outcome reads the same however often it is asked for."""
    async with call.services.db.connection() as db:
        key = await call.services.person_keys.of(db, review.patient_id)
    now = review.updated_at if status == 201 else call.now  # noqa: PLR2004 - Created
    return Answer(own(review, key, now), status, headers or {}, etag=version_tag(review.version))
