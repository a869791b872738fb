"""Paying for a booking, as a patient's app and browser do it."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.people import Person
from tests.polling import until
from tests.web.slots import book, free_times

FEE = 50_000


async def held(api: httpx.AsyncClient, patient: Person, doctor: Person, place: int = 0) -> dict[str, Any]:
    """A priced booking whose time is held."""
    answer = await book(api, patient, doctor, (await free_times(api, doctor))[place])
    assert (answer.status_code, answer.json()["status"]) == (201, "held"), answer.text
    return answer.json()


async def pay(api: httpx.AsyncClient, patient: Person, booking_id: str, key: str | None = None) -> httpx.Response:
    """Ask where to pay."""
    return await api.post(f"/v1/bookings/{booking_id}/pay", json={}, headers=patient.writing(key))


async def at_sandbox(environment: Mapping[str, str], checkout_url: str, **how: Any) -> None:
    """Do what a patient does on the sandbox's page."""
    headers = {"Authorization": f"Bearer {environment['PAYMENT_SANDBOX_KEY']}"}
    order = checkout_url.rpartition("/")[2]
    async with httpx.AsyncClient(base_url=environment["PAYMENT_SANDBOX_URL"], headers=headers, trust_env=False) as http:
        answer = await http.post(f"/v1/orders/{order}/pay", json={"outcome": "pay", **how})
    assert answer.status_code == 200, answer.text


async def confirmed(
    api: httpx.AsyncClient, environment: Mapping[str, str], patient: Person, doctor: Person
) -> dict[str, Any]:
    """A priced booking that is paid for."""
    booking = await held(api, patient, doctor)
    checkout = (await pay(api, patient, booking["id"])).json()
    await at_sandbox(environment, checkout["checkout_url"])
    return await reaches(api, patient, booking["id"], "confirmed")


async def reaches(api: httpx.AsyncClient, person: Person, booking_id: str, status: str) -> dict[str, Any]:
    """The booking, once it stands so."""

    async def there() -> dict[str, Any] | None:
        booking = (await api.get(f"/v1/bookings/{booking_id}", headers=person.headers)).json()
        return booking if booking["status"] == status else None

    return await until(there)


async def payment_reaches(api: httpx.AsyncClient, person: Person, payment_id: str, status: str) -> dict[str, Any]:
    """The payment, once it stands so."""

    async def there() -> dict[str, Any] | None:
        payment = (await api.get(f"/v1/payments/{payment_id}", headers=person.headers)).json()
        return payment if payment["status"] == status else None

    return await until(there)
