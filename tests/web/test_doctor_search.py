"""Searches over HTTP: what is found by which words, in which order, and what is refused."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from amrutam.ids import new_id
from amrutam.storage import doctor
from amrutam.storage.pool import Database
from tests.people import People, Person
from tests.polling import until
from tests.web.slots import book

Make = Callable[..., Awaitable[Person]]
DOCTORS = "/v1/doctors"


def _tag() -> str:
    """A word of letters that nothing else is near to."""
    return "".join(chr(ord("a") + int(digit, 16)) for digit in new_id().hex[-20:])


async def _named(db: Database, people: People, name: str, **columns: Any) -> str:
    """The id of a verified doctor of this name."""
    person = await people.doctor()
    values = {"full_name": name, **columns}
    places = ", ".join(f"{column} = ${place}" for place, column in enumerate(values, 2))
    async with db.connection() as connection:
        update = f"UPDATE doctors SET {places} WHERE id = $1"  # noqa: S608 - columns of ours
        await connection.execute(update, person.id, *values.values())
    return str(person.id)


async def _found(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get(DOCTORS, params=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["items"]]


async def _known(db: Database, *ids: str) -> None:
    """Until the free times of these doctors are known to searches."""

    async def known() -> bool:
        async with db.connection() as connection:
            return await connection.fetchval(
                "SELECT count(*) = $2 FROM listings WHERE doctor_id = ANY ($1) AND next_start < 9e18",
                [UUID(each) for each in ids], len(ids),
            )  # fmt: skip

    await until(known)


async def test_each_filter_finds_those_that_fit_and_no_others(
    api: httpx.AsyncClient, db: Database, people: People
) -> None:
    tag = _tag()
    one = await _named(
        db, people, f"Dr A {tag}", specialties=["ent", "urology"], languages=["hi"], gender="female", lowest_fee=300,
        fees='{"video": {"amount": 900, "currency": "INR"}, "chat": {"amount": 300, "currency": "INR"}}',
        modes=["video", "chat"], rating_count=2, rating_sum=9,
    )  # fmt: skip
    other = await _named(
        db, people, f"Dr B {tag}", specialties=["oncology"], languages=["en", "ta"], modes=["audio"], lowest_fee=0,
        fees='{"audio": {"amount": 0, "currency": "INR"}}',
    )  # fmt: skip
    silent = await _named(db, people, f"Dr C {tag}", gender="male", modes=[], fees="{}", lowest_fee=None)
    hidden = await _named(db, people, f"Dr D {tag}", verified_at=None)
    lapsed = await _named(db, people, f"Dr E {tag}", verified_until=datetime.now(UTC))
    everybody = {one, other, silent}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, everybody),
        ({"specialty": "urology"}, {one}),
        ({"language": "en"}, {other, silent}),
        ({"gender": "female"}, {one}),
        ({"mode": "audio"}, {other}),
        ({"max_fee": 300}, {one, other}),
        ({"max_fee": 299}, {other}),
        ({"mode": "video", "max_fee": 899}, set()),
        ({"mode": "video", "max_fee": 900}, {one}),
        ({"min_rating": 4.5}, {one}),
        ({"min_rating": 4.6}, set()),
        ({"min_rating": 0}, everybody),
    ]
    for query, expected in cases:
        found = await _found(api, q=tag, **query)
        assert set(found) == expected, query
        assert not {hidden, lapsed} & set(found)


async def test_doctors_are_found_as_people_type(api: httpx.AsyncClient, db: Database, people: People) -> None:
    tag = _tag()
    jose = await _named(db, people, f"Dr. José {tag}", specialties=["cardiology"], languages=["en"])
    skin = await _named(db, people, "Dr. Ritu Menon", specialties=["dermatology"], languages=["sa"])
    heart = await _named(db, people, "Dr. Anil Menon", specialties=["cardiology"], languages=["sa"])
    other = await _named(db, people, "Dr. Anil Rao", specialties=["dermatology"], languages=["sa"])
    assert await _found(api, q=f"jose {tag}") == [jose]
    assert await _found(api, q=tag[:9] + tag[10:]) == [jose]  # a letter is missing
    assert await _found(api, q=tag[:8].upper()) == [jose]
    assert (await _found(api, q="dr menen dermatolgy", language="sa"))[0] == skin
    assert set(await _found(api, q="dr menen dermatolgy", language="sa")) == {skin, heart, other}
    assert set(await _found(api, q="skin rash", language="sa")) == {skin, other}
    assert await _found(api, q="dil ki bimari", language="sa") == [heart]
    assert set(await _found(api, q="derma", language="sa")) == {skin, other}
    assert await _found(api, q="' OR true --", language="sa", specialty="unani") == []
    assert await _found(api, q="%_%", language="sa") == []
    assert len(await _found(api, q="doctor", language="sa")) == 3


async def test_the_closest_come_first_then_the_best_rated(api: httpx.AsyncClient, db: Database, people: People) -> None:
    tag = _tag()
    similar = await _named(db, people, f"Dr. {tag[:-1]}", rating_count=1, rating_sum=5)
    begins = await _named(db, people, f"Dr. {tag}abc", rating_count=1, rating_sum=5)
    exact = await _named(db, people, f"Dr. {tag}", rating_count=1, rating_sum=2)
    better = await _named(db, people, f"Dr. {tag}", rating_count=1, rating_sum=4)
    assert await _found(api, q=tag) == [better, exact, begins, similar]
    assert await _found(api, q=tag, sort="rating") == [begins, better, exact]


async def test_sorts_put_the_cheapest_or_the_soonest_first_in_the_mode_that_is_asked_for(
    api: httpx.AsyncClient, db: Database, people: People
) -> None:
    tag = _tag()
    fees = '{{"video": {{"amount": {}, "currency": "INR"}}, "chat": {{"amount": {}, "currency": "INR"}}}}'
    cheap = await _named(db, people, f"Dr. {tag}", fees=fees.format(900, 100), lowest_fee=100)
    dear = await _named(db, people, f"Dr. {tag}", fees=fees.format(500, 500), lowest_fee=500)
    assert await _found(api, q=tag, sort="fee") == [cheap, dear]
    assert await _found(api, q=tag, sort="fee", mode="video") == [dear, cheap]
    await _known(db, cheap, dear)
    async with db.connection() as connection:
        await connection.execute(
            """UPDATE listings SET next_start = next_start + 1440, next_chat_start = next_chat_start - 1440
               WHERE doctor_id = $1""",
            UUID(cheap),
        )
    assert await _found(api, q=tag, sort="soonest") == [dear, cheap]
    assert await _found(api, q=tag, sort="soonest", mode="chat") == [cheap, dear]


async def test_a_booking_moves_the_next_free_time_and_a_search_within_it_finds_nobody(
    api: httpx.AsyncClient, db: Database, people: People, make_patient: Make
) -> None:
    tag = _tag()
    busy = await people.doctor()
    async with db.connection() as connection:
        await connection.execute("UPDATE doctors SET full_name = $2 WHERE id = $1", busy.id, tag)
    await _known(db, str(busy.id))
    first = (await api.get(DOCTORS, params={"q": tag})).json()["items"][0]["next_available_at"]
    starts_at = datetime.fromisoformat(first) + timedelta(days=1)
    span = {"available_from": starts_at.isoformat(), "available_to": (starts_at + timedelta(minutes=15)).isoformat()}
    assert await _found(api, q=tag, **span) == [str(busy.id)]
    answer = await book(api, await make_patient(), busy, starts_at.isoformat())
    assert answer.status_code == 201, answer.text
    sizes = iter(range(1, 100))

    async def gone() -> bool:  # another page size each time, since answers are kept for a while
        return await _found(api, q=tag, limit=next(sizes), **span) == []

    await until(gone)


async def test_a_doctor_in_a_page_is_written_as_the_profile_is(
    api: httpx.AsyncClient, db: Database, people: People
) -> None:
    tag = _tag()
    made = await _named(
        db,
        people,
        tag,
        registration_number="1",
        registration_council="NMC",
        bio="„Überall“",
        rating_count=3,
        rating_sum=13,
    )
    await _known(db, made)
    page = (await api.get(DOCTORS, params={"q": tag})).json()
    assert page["items"] == [(await api.get(f"{DOCTORS}/{made}")).json()]
    async with db.connection() as connection:
        found = await doctor.find_verified(connection, UUID(made))
    assert found
    assert f'"items":[{found.model_dump_json()}]' in (await api.get(DOCTORS, params={"q": tag})).text


async def test_pages_of_a_search_hold_each_doctor_once(api: httpx.AsyncClient, db: Database, people: People) -> None:
    tag = _tag()
    made = [await _named(db, people, f"Dr {tag}") for _ in range(5)]
    await _known(db, *made)
    for sort in ("soonest", "fee", "rating", "relevance"):
        seen = list[str]()
        query: dict[str, Any] = {"q": tag, "limit": 2, "sort": sort}
        while True:
            page = (await api.get(DOCTORS, params=query)).json()
            seen += [each["id"] for each in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert sorted(seen) == sorted(made), sort


async def test_a_cursor_is_good_for_its_own_list_only(api: httpx.AsyncClient) -> None:
    cursor = (await api.get(DOCTORS, params={"limit": 1, "specialty": "ayurveda"})).json()["next_cursor"]
    assert cursor
    same = {"limit": 5, "specialty": "ayurveda", "cursor": cursor}
    assert (await api.get(DOCTORS, params=same)).status_code == 200
    altered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for wrong in (
        {"cursor": cursor},
        {**same, "specialty": "ent"},
        {**same, "sort": "fee"},
        {**same, "cursor": altered},
        {"cursor": "ünsinn"},
    ):
        answer = await api.get(DOCTORS, params=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


def _in(days: float) -> str:
    return datetime.fromtimestamp(time.time() + days * 86400, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ({"colour": "red"}, "/colour", ""),
        ({"limit": 0}, "/limit", ""),
        ({"limit": 101}, "/limit", ""),
        ({"specialty": "alchemy"}, "/specialty", "'dermatology'"),
        ({"mode": "telepathy"}, "/mode", "'video'"),
        ({"max_fee": -1}, "/max_fee", "0"),
        ({"q": ["a", "b"]}, "/q", "once"),
        ({"q": ""}, "/q", ""),
        ({"min_rating": 7}, "/min_rating", "5"),
        ({"min_rating": "nan"}, "/min_rating", "finite"),
        ({"sort": "luck"}, "/sort", "'soonest'"),
        ({"available_from": "tomorrow"}, "/available_from", "RFC 3339"),
        ({"available_from": _in(2), "available_to": _in(1)}, "/available_to", "after available_from"),
        ({"available_from": _in(32)}, "/available_from", "31 days"),
        ({"available_to": _in(-1)}, "/available_to", "future"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused_by_field(
    api: httpx.AsyncClient, query: dict[str, Any], pointer: str, words: str
) -> None:
    answer = await api.get(DOCTORS, params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert words in answer.json()["errors"][0]["detail"]
