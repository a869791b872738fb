"""What people ask of the directory: searches and slots that nobody has asked for yet, the same for the same day."""

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from bench import crowd

DAY = timedelta(days=1)
MONTH_DAYS = 31
_MODES = ("video", "video", "video", "audio", "chat")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"

Ask = Callable[[random.Random, datetime], dict[str, str]]
"""Makes the query of one search; times are counted from the moment that it is given."""


def by_specialty(chance: random.Random, _: datetime) -> dict[str, str]:
    """Of a specialty, up to some fee."""
    return {"specialty": crowd.specialty(chance), "max_fee": str(chance.randint(30_000, 400_000))}


def by_text(chance: random.Random, _: datetime) -> dict[str, str]:
    """A name with a wrong letter, for two in five with a specialty."""
    name = crowd.someone(chance).lower()
    place = chance.randrange(1, len(name))
    typed = name[:place] + chance.choice(_ALPHABET) + name[place + 1 :]
    return {"q": f"{typed} {crowd.specialty(chance).replace('_', ' ')}" if chance.random() < 0.4 else typed}  # noqa: PLR2004


def by_soonest(chance: random.Random, _: datetime) -> dict[str, str]:
    """Who can be had soonest in some mode and language."""
    asked = {"sort": "soonest", "mode": chance.choice(_MODES), "language": crowd.language(chance)}
    return asked | {"max_fee": str(chance.randint(30_000, 400_000))}


def free_within(chance: random.Random, midnight: datetime) -> dict[str, str]:
    """Of a specialty, free within some hours of the weeks to come."""
    since = midnight + timedelta(minutes=5 * chance.randrange(20 * 288))
    until = since + timedelta(hours=chance.randint(2, 6))
    times = {"available_from": f"{since:%Y-%m-%dT%H:%M:%SZ}", "available_to": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
    return times | {"specialty": crowd.specialty(chance)}


def by_rating(chance: random.Random, _: datetime) -> dict[str, str]:
    """The best of a specialty, from some rating on."""
    rating = f"{chance.uniform(3, 4.8):.4f}"
    return {"sort": "rating", "min_rating": rating, "specialty": crowd.specialty(chance)}


SEARCHES: dict[str, Ask] = {
    "by specialty": by_specialty,
    "by text with a slip": by_text,
    "soonest": by_soonest,
    "free within hours": free_within,
    "by rating": by_rating,
}


def searches(ask: Ask, doctors: int, count: int, midnight: datetime) -> list[dict[str, str]]:
    """So many queries, no two alike, of a directory with so many doctors."""
    chance = random.Random(f"{ask.__name__}/{doctors}")  # noqa: S311 - the same in every run
    asked: dict[str, dict[str, str]] = {}
    while len(asked) < count:
        query = ask(chance, midnight)
        asked[urlencode(query)] = query
    return list(asked.values())


def search_path(query: dict[str, str]) -> str:
    """Of a search."""
    return f"/v1/doctors?{urlencode(query)}"


def slots(days: int, doctors: int, count: int, midnight: datetime) -> Iterator[tuple[UUID, datetime, datetime]]:
    """So many doctors, each with the first and last of `days` days; nobody comes again before all others came."""
    chance = random.Random(f"slots/{days}/{doctors}")  # noqa: S311 - the same in every run
    numbers = chance.sample(range(doctors), min(doctors, count))
    for place in range(count):
        first = midnight + (place // len(numbers) % MONTH_DAYS) * DAY
        yield crowd.doctor_id(numbers[place % len(numbers)]), first, first + (days - 1) * DAY


def slots_path(doctor_id: UUID, first: datetime, last: datetime) -> str:
    """Of a doctor's slots on these days of UTC."""
    return f"/v1/doctors/{doctor_id}/slots?from={first:%Y-%m-%d}&to={last:%Y-%m-%d}&tz=UTC"
