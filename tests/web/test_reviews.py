"""Reviews: one for each completed visit, read by a moderator before words are shown, and counted as they change."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from amrutam.domain.common import Role
from amrutam.ids import new_id
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.polling import until
from tests.visits import completed_visit
from tests.web.accounts import MakePatient, Outbox

MakeDoctor = Callable[..., Awaitable[Person]]
WORDS = "Listened, and explained what the cream does."


class Ward:
    """A doctor, a patient who has seen them, and a moderator."""

    def __init__(
        self, api: httpx.AsyncClient, db: Database, doctor: Person, patient: Person, moderator: Person
    ) -> None:
        self.api, self.db = api, db
        self.doctor, self.patient, self.moderator = doctor, patient, moderator

    @property
    def path(self) -> str:
        return f"/v1/doctors/{self.doctor.id}/reviews"

    async def visit(self, patient: Person | None = None, status: str = "completed") -> str:
        return str(await completed_visit(self.db, (patient or self.patient).id, self.doctor.id, status))

    async def write(self, patient: Person | None = None, key: str | None = None, **said: Any) -> httpx.Response:
        """Of a new visit, unless `booking_id` names one."""
        who = patient or self.patient
        body = {"booking_id": said.get("booking_id") or await self.visit(who), "stars": 5, **said}
        return await self.api.post(self.path, json=body, headers=who.writing(key))

    async def edit(self, review: dict[str, Any], **said: Any) -> httpx.Response:
        headers = {**self.patient.headers, "If-Match": f'"v{review["version"]}"'}
        return await self.api.patch(f"/v1/reviews/{review['id']}", json=said, headers=headers)

    async def decide(self, review: dict[str, Any], decision: str, **more: Any) -> httpx.Response:
        headers = {**self.moderator.writing(), "If-Match": f'"v{review["version"]}"'}
        path = f"/v1/admin/reviews/{review['id']}/moderation"
        return await self.api.post(path, json={"decision": decision, **more}, headers=headers)

    async def shown(self) -> list[tuple[int, str | None]]:
        answer = await self.api.get(self.path)
        assert answer.status_code == 200, answer.text
        return [(item["stars"], item["text"]) for item in answer.json()["items"]]

    async def rating(self) -> dict[str, Any]:
        return (await self.api.get(f"/v1/doctors/{self.doctor.id}")).json()["rating"]


@pytest.fixture
async def ward(
    api: httpx.AsyncClient, db: Database, people: People, make_doctor: MakeDoctor, make_patient: MakePatient
) -> Ward:
    return Ward(api, db, await make_doctor(), await make_patient(), await people.staff(Role.SUPPORT))


async def test_stars_alone_count_at_once_and_nobody_learns_whose_they_are(ward: Ward) -> None:
    answer = await ward.write(stars=4)
    assert (answer.status_code, answer.json()["state"]) == (201, "published"), answer.text
    assert answer.headers["location"] == f"/v1/reviews/{answer.json()['id']}"
    assert (await ward.write(stars=3, text="   ")).json()["state"] == "published"
    await ward.write(stars=3)
    assert await ward.rating() == {"average": 3.33, "count": 3}
    listed = await ward.api.get(ward.path)
    assert [set(item) for item in listed.json()["items"]] == [{"id", "stars", "text", "created_at"}] * 3
    assert [item["stars"] for item in listed.json()["items"]] == [3, 3, 4]
    assert str(ward.patient.id) not in listed.text
    again = await ward.api.get(ward.path, headers={"If-None-Match": listed.headers["etag"]})
    assert again.status_code == 304
    assert "public" in listed.headers["cache-control"]


async def test_words_wait_for_a_moderator(ward: Ward) -> None:
    review = (await ward.write(text=WORDS)).json()
    assert (review["state"], review["text"], review["editable"]) == ("pending", WORDS, True)
    assert (await ward.shown(), (await ward.rating())["count"]) == ([], 0)
    published = await ward.decide(review, "publish")
    assert (published.status_code, published.json()["state"]) == (200, "published"), published.text
    assert (await ward.shown(), await ward.rating()) == ([(5, WORDS)], {"average": 5.0, "count": 1})


async def test_other_words_wait_again_and_other_stars_do_not(ward: Ward) -> None:
    review = (await ward.write(text=WORDS)).json()
    review = (await ward.decide(review, "publish")).json()
    review = (await ward.edit(review, stars=2)).json()
    assert (review["state"], await ward.shown()) == ("published", [(2, WORDS)])
    review = (await ward.edit(review, text="Other words.")).json()
    assert (review["state"], review["stars"], await ward.shown()) == ("pending", 2, [])
    review = (await ward.edit(review, text=None)).json()
    assert (review["state"], await ward.shown()) == ("published", [(2, None)])


async def test_an_edit_needs_what_was_read_and_ends_with_its_time(ward: Ward, db: Database) -> None:
    review = (await ward.write()).json()
    path = f"/v1/reviews/{review['id']}"
    assert (await ward.api.patch(path, json={"stars": 1}, headers=ward.patient.headers)).status_code == 428
    assert (await ward.edit({**review, "version": 9}, stars=1)).status_code == 412
    async with db.connection() as connection:
        await connection.execute("UPDATE reviews SET editable_until = now() WHERE id = $1", UUID(review["id"]))
    late = await ward.edit(review, stars=1)
    assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
    read = await ward.api.get(path, headers=ward.patient.headers)
    assert (read.json()["stars"], read.json()["editable"]) == (5, False)


async def test_what_is_withdrawn_is_gone_and_stays_the_only_one(ward: Ward, db: Database) -> None:
    visit = await ward.visit()
    review = (await ward.write(booking_id=visit, text=WORDS)).json()
    await ward.decide(review, "publish")
    path = f"/v1/reviews/{review['id']}"
    assert (await ward.api.delete(path, headers=ward.patient.headers)).status_code == 204
    assert (await ward.shown(), await ward.rating()) == ([], {"average": None, "count": 0})
    assert (await ward.api.get(path, headers=ward.patient.headers)).status_code == 404
    assert (await ward.api.delete(path, headers=ward.patient.headers)).status_code == 404
    async with db.connection() as connection:
        assert await connection.fetchval("SELECT text FROM reviews WHERE id = $1", UUID(review["id"])) is None
    again = await ward.write(booking_id=visit)
    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")


async def test_one_key_writes_one_review_and_another_key_none(ward: Ward) -> None:
    visit, key = await ward.visit(), str(new_id())
    first, same = [await ward.write(booking_id=visit, key=key, text=WORDS) for _ in range(2)]
    assert (same.status_code, same.content) == (201, first.content)
    assert same.headers["idempotency-replayed"] == "true"
    other = await ward.write(booking_id=visit)
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (409, "/booking_id")
    bare = {"booking_id": visit, "stars": 5}
    assert (await ward.api.post(ward.path, json=bare, headers=ward.patient.headers)).status_code == 400


@pytest.mark.parametrize("status", ["confirmed", "cancelled", "no_show"])
async def test_a_visit_that_was_not_completed_is_not_reviewed(ward: Ward, status: str) -> None:
    answer = await ward.write(booking_id=await ward.visit(status=status))
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
    assert status in answer.json()["detail"]


async def test_only_ones_own_visit_to_this_very_doctor_is_reviewed(
    ward: Ward, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    visit = await ward.visit()
    stranger, elsewhere = await make_patient(), await make_doctor()
    assert (await ward.write(stranger, booking_id=visit)).status_code == 404
    said = {"booking_id": visit, "stars": 1}
    wrong = await ward.api.post(f"/v1/doctors/{elsewhere.id}/reviews", json=said, headers=ward.patient.writing())
    assert wrong.status_code == 404
    assert (await ward.api.post(ward.path, json=said, headers=ward.doctor.writing())).status_code == 403


@pytest.mark.parametrize("said", [{"stars": 0}, {"stars": 6}, {"stars": 4.5}, {"text": "x" * 2001}])
async def test_what_no_review_can_be_is_named(ward: Ward, said: dict[str, Any]) -> None:
    answer = await ward.write(booking_id=str(new_id()), **said)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{next(iter(said))}"]


async def test_nobody_publishes_words_that_they_have_not_read(ward: Ward) -> None:
    read = (await ward.write(text=WORDS)).json()
    await ward.edit(read, text="Something else entirely.")
    assert (await ward.decide(read, "publish")).status_code == 412
    assert await ward.shown() == []


async def test_a_decision_can_be_taken_back_and_stars_alone_are_no_matter_for_one(ward: Ward) -> None:
    review = (await ward.decide((await ward.write(text=WORDS)).json(), "publish")).json()
    twice = await ward.decide(review, "publish")
    assert (twice.status_code, twice.json()["code"]) == (409, "invalid_state")
    review = (await ward.decide(review, "reject", reason="It names another patient.")).json()
    assert (review["state"], (await ward.rating())["count"]) == ("rejected", 0)
    assert (await ward.decide(review, "publish")).json()["state"] == "published"
    stars = (await ward.write()).json()
    assert (await ward.decide(stars, "reject")).status_code == 409


async def test_the_author_is_told_by_mail_why_a_review_was_rejected(ward: Ward, outbox: Outbox) -> None:
    review = (await ward.write(text=WORDS)).json()
    await ward.decide(review, "reject", reason="It names another patient.")
    [mail] = await outbox(ward.patient.email)
    assert mail["subject"] == "Your review is not shown"
    assert "Dr Meera Iyer" in mail["text"]
    assert "The reason: It names another patient." in mail["text"]
    assert WORDS not in mail["text"]
    own = await ward.api.get("/v1/me/reviews", headers=ward.patient.headers)
    [listed] = own.json()["items"]
    assert (listed["state"], listed["moderation_reason"]) == ("rejected", "It names another patient.")


async def test_moderators_see_the_oldest_first_and_their_reading_is_on_the_trail(ward: Ward, db: Database) -> None:
    review = (await ward.write(text=WORDS)).json()
    query: dict[str, Any] = {"state": "pending", "limit": 100}
    seen: list[dict[str, Any]] = []
    while True:
        answer = await ward.api.get("/v1/admin/reviews", params=query, headers=ward.moderator.headers)
        assert answer.status_code == 200, answer.text
        seen += answer.json()["items"]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            break
    assert [item["id"] for item in seen] == sorted(item["id"] for item in seen)
    assert {item["state"] for item in seen} == {"pending"}
    assert [item["text"] for item in seen if item["id"] == review["id"]] == [WORDS]
    async with db.connection() as connection:
        reads = await connection.fetchval(
            "SELECT count(*) FROM audit WHERE action = 'review.list' AND actor_id = $1 AND patient_id = $2",
            ward.moderator.id,
            ward.patient.id,
        )
    assert reads == 1


async def test_a_page_goes_on_where_the_last_one_ended(ward: Ward, make_patient: MakePatient) -> None:
    for stars in (1, 2, 3):
        await ward.write(stars=stars)
    first = (await ward.api.get(ward.path, params={"limit": 2})).json()
    rest = (await ward.api.get(ward.path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["stars"] for item in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next_cursor"] is None
    other = Ward(ward.api, ward.db, ward.doctor, await make_patient(), ward.moderator)
    foreign = await ward.api.get(
        "/v1/me/reviews", params={"cursor": first["next_cursor"]}, headers=other.patient.headers
    )
    assert (foreign.status_code, foreign.json()["code"]) == (422, "invalid_cursor")


async def test_words_lie_sealed_in_the_database_also_when_they_are_published(ward: Ward, db: Database) -> None:
    review = (await ward.decide((await ward.write(text=WORDS)).json(), "publish", reason="Fine words.")).json()
    async with db.connection() as connection:
        row = await connection.fetchval("SELECT r::text FROM reviews r WHERE id = $1", UUID(review["id"]))
    assert await ward.shown() == [(5, WORDS)]
    for words in (WORDS, "Fine words."):
        assert words not in row
        assert words.encode().hex() not in row


async def test_other_processes_hear_of_it_by_the_event_alone(ward: Ward, db: Database) -> None:
    """The list was cached, and the row changes behind the API's back, as in another process that died after it."""
    review = (await ward.write(stars=1)).json()
    assert await ward.shown() == [(1, None)]
    async with db.transaction() as connection:
        await connection.execute("UPDATE reviews SET stars = 2 WHERE id = $1", UUID(review["id"]))
        await connection.execute("UPDATE doctors SET rating_sum = rating_sum + 1 WHERE id = $1", ward.doctor.id)
        await connection.execute(
            "INSERT INTO events (type, subject, data) VALUES ('review.changed', $1, $2)",
            UUID(review["id"]),
            f'{{"doctor_id": "{ward.doctor.id}", "state": "published"}}',
        )

    async def told() -> bool:
        return await ward.shown() == [(2, None)] and await ward.rating() == {"average": 2.0, "count": 1}

    await until(told)


async def test_reviews_of_a_doctor_who_cannot_be_found_are_not_shown(
    api: httpx.AsyncClient, make_doctor: MakeDoctor
) -> None:
    doctor = await make_doctor(verified=False)
    assert (await api.get(f"/v1/doctors/{doctor.id}/reviews")).status_code == 404
