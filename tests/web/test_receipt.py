"""A receipt over HTTP: numbered when a charge pays, with what has gone back, for its patient alone."""

import re
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO

import httpx
from pypdf import PdfReader

from tests.people import Person
from tests.web.paying import FEE, confirmed, held, payment_reaches

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]


def _text(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf"), answer.text
    assert answer.content.startswith(b"%PDF-")
    return " ".join(page.extract_text() for page in PdfReader(BytesIO(answer.content)).pages)


async def test_what_was_paid_has_a_receipt_that_tells_later_what_went_back(
    api: httpx.AsyncClient, environment: Mapping[str, str], make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=FEE)
    first = await confirmed(api, environment, patient, doctor)
    path = f"/v1/bookings/{first['id']}/receipt.pdf"
    answer = await api.get(path, headers=patient.headers)
    told = _text(answer)
    number = re.search(r"AMR-[0-9]{4}/[0-9]{6}", told)
    assert number
    assert number[0].replace("/", "-") in answer.headers["content-disposition"]
    for words in ("500.00", "Dr Meera Iyer", "Asha Rao", "Amrutam Demo Clinic", "Sandbox"):
        assert words in told, words
    assert (await api.get(path, headers=patient.headers)).content == answer.content
    assert (await api.get(path, headers=(await make_patient()).headers)).status_code == 404

    await api.post(f"/v1/bookings/{first['id']}/cancel", json={}, headers=patient.writing())
    await payment_reaches(api, patient, first["payment"]["id"], "refunded")
    after = _text(await api.get(path, headers=patient.headers))
    assert number[0] in after
    assert after.count("500.00") > told.count("500.00")


async def test_what_was_not_paid_has_none(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor
) -> None:
    patient = await make_patient()
    booking = await held(api, patient, await make_doctor(fee=FEE))
    answer = await api.get(f"/v1/bookings/{booking['id']}/receipt.pdf", headers=patient.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")
