"""Records the histories: `python -m pytest tests/replay/record.py`. Each is a real run on the real system.

A history that is stored stands for workflows that still run somewhere, so record one for a path that is new, under a
name that is new; replace one only when no workflow of its time can be running any more.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from temporalio.client import Client
from temporalio.testing._timeskipping import TimeSkipper  # the public testing environment starts a server of its own

from amrutam.domain.common import Role
from amrutam.domain.notification import SendMail, Template
from amrutam.ids import new_id
from amrutam.temporal import BACKGROUND_QUEUE, MAILS_QUEUE, PATIENT_ID, PAYMENTS_QUEUE
from tests.conftest import System
from tests.people import People, Person
from tests.polling import until
from tests.replay import histories
from tests.web import paying
from tests.web.slots import book, free_times
from tests.web.verifying import LICENCE, decide, edit, submit

MakePatient = Callable[[], Awaitable[Person]]
MakeDoctor = Callable[..., Awaitable[Person]]
KOLKATA = ZoneInfo("Asia/Kolkata")  # of the doctors that are made here
AFTER_THE_HOLD, AFTER_THE_VISIT = timedelta(minutes=11), timedelta(days=4)
AFTER_THE_LAST_CAPTURE = timedelta(minutes=75)


async def _booked(api: httpx.AsyncClient, patient: Person, doctor: Person) -> dict[str, Any]:
    answer = await book(api, patient, doctor, (await free_times(api, doctor))[0])
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _keep(name: str, temporal: Client, workflow_id: str) -> None:
    """Store what the workflow did, once it has ended."""
    handle = temporal.get_workflow_handle(workflow_id)
    await handle.result()
    await histories.write(name, await handle.fetch_history(), temporal.data_converter.payload_codec)


async def _cancel(api: httpx.AsyncClient, patient: Person, booking: dict[str, Any]) -> httpx.Response:
    return await api.post(f"/v1/bookings/{booking['id']}/cancel", json={}, headers=patient.writing())


async def test_confirmed_until_due(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    workflow_id = f"booking/{(await _booked(api, await make_patient(), await make_doctor()))['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_VISIT)
    await _keep("booking_reminded_until_due", temporal, workflow_id)


async def test_held_then_expired(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    workflow_id = f"booking/{(await _booked(api, await make_patient(), await make_doctor(fee=50000)))['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_HOLD)
    await _keep("booking_held_then_expired", temporal, workflow_id)


async def test_held_then_cancelled(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, await make_doctor(fee=50000))
    assert (await _cancel(api, patient, booking)).status_code == 200
    await _keep("booking_held_then_cancelled", temporal, f"booking/{booking['id']}")


async def test_confirmed_then_cancelled(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient = await make_patient()
    booking = await _booked(api, patient, await make_doctor())
    assert (await _cancel(api, patient, booking)).status_code == 200
    await _keep("booking_confirmed_then_cancelled", temporal, f"booking/{booking['id']}")


async def test_paid_until_due_and_its_payment(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client, system: System
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=paying.FEE)
    booking = await paying.confirmed(api, system.environment, patient, doctor)
    for name, workflow_id, ahead in (
        ("payment_paid", f"payment/{booking['payment']['id']}", AFTER_THE_LAST_CAPTURE),
        ("booking_paid_until_due", f"booking/{booking['id']}", AFTER_THE_VISIT),
    ):
        await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), ahead)
        await _keep(name, temporal, workflow_id)


async def test_paid_then_cancelled_and_paid_back(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client, system: System
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=paying.FEE)
    booking = await paying.confirmed(api, system.environment, patient, doctor)
    assert (await _cancel(api, patient, booking)).status_code == 200
    await paying.payment_reaches(api, patient, booking["payment"]["id"], "refunded")
    workflow_id = f"payment/{booking['payment']['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_LAST_CAPTURE)
    await _keep("payment_refunded", temporal, workflow_id)


async def test_awaited_in_vain(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=paying.FEE)
    booking = await paying.held(api, patient, doctor)
    payment_id = (await paying.pay(api, patient, booking["id"])).json()["payment_id"]
    workflow_id = f"booking/{booking['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_LAST_CAPTURE)
    await _keep("booking_not_paid", temporal, workflow_id)
    await temporal.get_workflow_handle(f"payment/{payment_id}").terminate("the recording is over")


async def test_extended_then_expired(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=paying.FEE)
    booking = await paying.held(api, patient, doctor)
    path = f"/v1/bookings/{booking['id']}/extend-hold"
    assert (await api.post(path, json={}, headers=patient.writing())).status_code == 200
    workflow_id = f"booking/{booking['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_HOLD)
    await _keep("booking_extended_then_expired", temporal, workflow_id)


async def test_payments_swept(temporal: Client, system: System) -> None:
    assert system.worker.process
    workflow_id = f"sweep-payments/{new_id()}"
    await temporal.start_workflow("SweepPayments", 1, id=workflow_id, task_queue=PAYMENTS_QUEUE)
    await _keep("payments_swept", temporal, workflow_id)


async def test_refused(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    patient, doctor = await make_patient(), await make_doctor(fee=50000)
    times = (await free_times(api, doctor))[:4]  # one more than a patient may hold unpaid
    answers = [await book(api, patient, doctor, time) for time in times]
    assert answers[-1].json()["code"] == "too_many_holds"
    query = f"{PATIENT_ID.name} = '{patient.id}' AND BookingStatus IS NULL"

    async def found() -> list[str]:
        return [each.id async for each in temporal.list_workflows(query)]

    [workflow_id] = await until(found)
    await _keep("booking_refused", temporal, workflow_id)


async def test_withdrawn_by_an_operator(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    workflow_id = f"booking/{(await _booked(api, await make_patient(), await make_doctor()))['id']}"
    await temporal.get_workflow_handle(workflow_id).cancel()
    await _keep("booking_withdrawn_by_an_operator", temporal, workflow_id)


async def test_cancelled_twice(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    """Two requests at once, until both come so close together that neither knows of the other."""
    patient, doctor = await make_patient(), await make_doctor()

    async def cancelled_twice() -> str | None:
        booking = await _booked(api, patient, doctor)
        answers = await asyncio.gather(*(_cancel(api, patient, booking) for _ in range(2)))
        assert sorted(each.status_code for each in answers) == [200, 409]
        history = await temporal.get_workflow_handle(f"booking/{booking['id']}").fetch_history()
        accepted = [e for e in history.events if e.HasField("workflow_execution_update_accepted_event_attributes")]
        return f"booking/{booking['id']}" if len(accepted) == 3 else None  # the first one waits for the outcome

    await _keep("booking_cancelled_twice", temporal, await until(cancelled_twice))


async def test_called_off(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, people: People, temporal: Client
) -> None:
    doctor, admin = await make_doctor(), await people.with_factor(await people.staff(Role.ADMIN))
    booking = await _booked(api, await make_patient(), doctor)
    assert (await decide(api, admin, doctor, "suspend", reason="A complaint.")).status_code == 200
    await _keep("booking_called_off", temporal, f"booking/{booking['id']}")
    query = "WorkflowType = 'Suspension' AND ExecutionStatus = 'Completed'"

    async def ended() -> list[str]:
        return [each.id async for each in temporal.list_workflows(query)]

    await _keep("suspension", temporal, (await until(ended))[0])


async def test_moved_then_due(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    """The visit is due at the time to which it was moved."""
    patient, doctor = await make_patient(), await make_doctor()
    booking = await _booked(api, patient, doctor)
    path = f"/v1/bookings/{booking['id']}/reschedule"
    later = {"starts_at": (await free_times(api, doctor))[8]}
    assert (await api.post(path, json=later, headers=patient.writing())).status_code == 200
    workflow_id = f"booking/{booking['id']}"
    await TimeSkipper(temporal).fast_forward(temporal.get_workflow_handle(workflow_id), AFTER_THE_VISIT)
    await _keep("booking_moved_until_due", temporal, workflow_id)


async def test_day_given_up(
    api: httpx.AsyncClient, make_patient: MakePatient, make_doctor: MakeDoctor, temporal: Client
) -> None:
    """Once with its bookings called off at once, once when nobody has moved them in time."""
    for way, name in {"cancel": "cancel_day", "offer_to_move": "cancel_day_with_offers"}.items():
        patient, doctor = await make_patient(), await make_doctor()
        booking = await _booked(api, patient, doctor)
        body = {"date": datetime.fromisoformat(booking["starts_at"]).astimezone(KOLKATA).date().isoformat()}
        answer = await api.post("/v1/doctors/me/cancel-day", json={**body, "bookings": way}, headers=doctor.writing())
        assert answer.json()["bookings"] == [booking["id"]]
        handle = temporal.get_workflow_handle(f"cancel-day/{answer.json()['id']}")
        if way == "offer_to_move":
            await TimeSkipper(temporal).fast_forward(handle, timedelta(days=2))
        await _keep(name, temporal, handle.id)
        await _keep(f"booking_of_{name}", temporal, f"booking/{booking['id']}")


async def test_verification(api: httpx.AsyncClient, make_doctor: MakeDoctor, people: People, temporal: Client) -> None:
    admin = await people.with_factor(await people.staff(Role.ADMIN))
    ends = {
        "approved": "verification_lapsed",
        "asked": "verification_answered_and_rejected",
        "left": "verification_expired",
    }
    for way, name in ends.items():
        doctor = await make_doctor(verified=False)
        await edit(api, doctor, registration=LICENCE)
        workflow_id = f"verification/{(await submit(api, doctor)).json()['id']}"
        handle = temporal.get_workflow_handle(workflow_id)
        if way == "approved":
            await TimeSkipper(temporal).fast_forward(handle, timedelta(days=3))  # administrators are reminded
            assert (await decide(api, admin, doctor, "approve")).status_code == 200
            await TimeSkipper(temporal).fast_forward(handle, timedelta(days=410))
        else:
            assert (await decide(api, admin, doctor, "ask", reason="More.")).status_code == 200
        if way == "asked":
            assert (await submit(api, doctor)).status_code == 201
            assert (await decide(api, admin, doctor, "reject", reason="No.")).status_code == 200
        if way == "left":
            await TimeSkipper(temporal).fast_forward(handle, timedelta(days=31))
        await _keep(name, temporal, workflow_id)


async def test_mail_sent(make_patient: MakePatient, temporal: Client, system: System) -> None:
    assert system.worker.process
    message = SendMail(event_id=new_id(), template=Template.ALREADY_REGISTERED, user_id=(await make_patient()).id)
    workflow_id = f"mail/{message.event_id}"
    await temporal.start_workflow("SendMails", message, id=workflow_id, task_queue=MAILS_QUEUE)
    await _keep("mail_sent_at_once", temporal, workflow_id)


async def test_maintenance(temporal: Client, system: System) -> None:
    assert system.worker.process
    workflow_id = f"maintenance/{new_id()}"
    await temporal.start_workflow("Maintenance", id=workflow_id, task_queue=BACKGROUND_QUEUE)
    await _keep("maintenance", temporal, workflow_id)


async def test_seal_audit(temporal: Client, system: System) -> None:
    assert system.worker.process
    workflow_id = f"seal-audit/{new_id()}"
    await temporal.start_workflow("SealAudit", id=workflow_id, task_queue=BACKGROUND_QUEUE)
    await _keep("seal_audit", temporal, workflow_id)
