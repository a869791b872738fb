"""Moderating reviews."""

from uuid import UUID

from amrutam.domain import errors
from amrutam.domain.common import Role
from amrutam.domain.reviews import Moderate, Review, ReviewRejected, ReviewState
from amrutam.storage import audit, events
from amrutam.storage import reviews as storage
from amrutam.storage.pool import Connection
from web import paging
from web.context import Answer, Call, version_tag
from web.idempotency import once
from web.review_views import ModeratedReview, ModeratedReviewPage, ReviewQuery, all_moderated
from web.reviews import forget, note_change
from web.routing import Feature, Idempotency

admin_reviews = Feature("admin_reviews")

MODERATORS = (Role.SUPPORT, Role.ADMIN)
EVERY_REVIEW = "every review"


@admin_reviews.route(
    "GET",
    "/v1/admin/reviews",
    allow=MODERATORS,
    owns=EVERY_REVIEW,
    answers={200: ModeratedReviewPage},
    errors=[errors.InvalidCursor],
    audited=True,
)
async def list_reviews(call: Call, query: ReviewQuery) -> Answer:
    """Reviews in one state, the oldest first: those that wait for a moderator unless asked otherwise."""
    after = paging.position(call, query)
    async with call.services.db.transaction() as db:
        found = await storage.by_state(db, query.state, after, query.limit + 1)
        shown = found[: query.limit]
        items = await all_moderated(call, db, shown)
        await audit.append_reads(db, call.actor, "review.list", call.user_id, {each.patient_id for each in shown})
    next_cursor = paging.cursor(call, query, shown[-1].id) if len(found) > query.limit else None
    return Answer(ModeratedReviewPage(items=items, next_cursor=next_cursor))


@admin_reviews.route(
    "POST",
    "/v1/admin/reviews/{id}/moderation",
    allow=MODERATORS,
    owns=EVERY_REVIEW,
    answers={200: ModeratedReview},
    errors=[errors.NotFound, errors.InvalidState, errors.Stale],
    idempotency=Idempotency.OPTIONAL,
    audited=True,
)
async def moderate(call: Call, id: UUID, command: Moderate) -> Answer:
    """Publish a review with text, or reject it; its author is told by mail, with the reason.

    `If-Match` names the version that was read, so that nobody publishes words that they have not seen. A decision may
    be taken back by another one.
    """

    async def edit(db: Connection) -> bytes:
        before = await storage.lock(db, id)
        call.check_if_match(version_tag(before.version))
        after = await _decide(call, db, before, command)
        who = call.actor.because(command.reason) if command.reason else call.actor
        await audit.append(db, who, f"review.{command.decision}", id, patient_id=before.patient_id)
        await note_change(db, before, after)
        return after.model_dump_json().encode()

    after = Review.model_validate_json(await once(call, edit))
    await forget(call, after)
    async with call.services.db.connection() as db:
        [view] = await all_moderated(call, db, [after])
    return Answer(view, etag=version_tag(after.version))


async def _decide(call: Call, db: Connection, review: Review, command: Moderate) -> Review:
    """Raises InvalidState."""
    state = review.decided(command.decision)
    key = (await call.services.person_keys.several(db, [review.patient_id])).get(review.patient_id)
    reason = storage.sealed(key, review.id, "moderation_reason", command.reason) if key else None
    after = await storage.moderate(db, review.id, state, call.user_id, reason)
    if state is ReviewState.REJECTED:
        rejected = ReviewRejected(subject=review.patient_id, doctor_id=review.doctor_id, review_id=review.id)
        await events.append(db, rejected)
    return after
