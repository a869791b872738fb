"""`make demo`: one patient's journey, by real requests, with answers and timings."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx

from amrutam.stack.applications import CHECKOUT
from amrutam.stack.ports import LOOPBACK, answers_ok

PASSWORD = "Amrutam-demo-1"  # noqa: S105 - of the demo's accounts, printed by `make up`
START_SECONDS = 900  # a first start on a machine builds the Temporal server
SHOWN_CHARACTERS = 180
ADMIN = "admin@demo.amrutam.test"
ADMIN_IS_ANOTHER = (
    f"This journey reads its mails as {ADMIN}, by the password that `make up` prints and nothing else. Take a second "
    f"factor off with `python -m amrutam mfa remove {ADMIN}`; after any other change begin anew: `make clean`."
)


class DemoError(Exception):
    """The journey went another way than it should."""


class Narrator:
    """Tells each step and shows what went over the wire."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._step = 0
        self.headers: dict[str, str] = {}

    def say(self, words: str) -> None:
        """A step of the story."""
        self._step += 1
        _print(f"\n{self._step}. {words}")

    async def ask(
        self, method: str, path: str, expect: int = 200, *, show: bool = True, **options: Any
    ) -> dict[str, Any]:
        """One request; its answer. Raises DemoError for another status than expected."""
        headers = self.headers | options.pop("headers", {})
        query = f"?{urlencode(options['params'])}" if "params" in options else ""
        _print(f"   {method} {path}{query}" + (f"  {_short(_shown(options['json']))}" if "json" in options else ""))
        started = time.perf_counter()
        answer = await self._client.request(method, path, headers=headers, **options)
        millis = (time.perf_counter() - started) * 1000
        body: dict[str, Any] = answer.json() if answer.content else {}
        _print(f"   -> {answer.status_code} in {millis:.1f} ms" + (f"  {_short(_shown(body))}" if show else ""))
        if answer.status_code != expect:
            raise DemoError(f"{method} {path}: expected {expect}, got {answer.status_code}")
        return body


async def journey(narrator: Narrator, ui: str | None) -> None:
    """Register, open the mail, sign in, search, book, read, look at the workflow, cancel."""
    await sign_up(narrator)
    doctor_id = await find_doctor(narrator)
    slot = await pick_slot(narrator, doctor_id)
    booking = await book(narrator, doctor_id, slot)
    await look_at_workflow(narrator, ui, booking["id"])
    await cancel(narrator, doctor_id, booking)


async def sign_up(narrator: Narrator) -> None:
    """A new account, verified by the link in its mail."""
    email = f"asha.{secrets.token_hex(4)}@patients.amrutam.test"
    narrator.say("Asha registers.")
    account = {"email": email, "password": PASSWORD, "full_name": "Asha Rao", "role": "patient"}
    await narrator.ask("POST", "/v1/auth/register", 202, json=account)
    narrator.say("She opens the link in the mail that a workflow has sent her.")
    token = await _token_in_mail(narrator, email)
    await narrator.ask("POST", "/v1/auth/verify-email", json={"token": token})
    narrator.say("She signs in.")
    session = await narrator.ask("POST", "/v1/auth/login", json={"email": email, "password": PASSWORD})
    narrator.headers = {"Authorization": f"Bearer {session['access_token']}"}


async def find_doctor(narrator: Narrator) -> str:
    """The one who sees patients for free at any hour is found by name; a search by specialty comes first."""
    narrator.say("She looks for a doctor: what specialties there are, who sees her skin by video, then one by name.")
    await narrator.ask("GET", "/v1/specialties")
    await narrator.ask("GET", "/v1/doctors?specialty=dermatology&mode=video&limit=3")
    found = await narrator.ask("GET", "/v1/doctors?q=Rohan%20Kapoor&max_fee=0")
    if not found["items"]:
        raise DemoError("the demo's free doctor is not there")
    return str(found["items"][0]["id"])


async def pick_slot(narrator: Narrator, doctor_id: str) -> dict[str, Any]:
    """A free time of tomorrow."""
    narrator.say("She asks for tomorrow's free times, in her own time zone.")
    day = (datetime.now(UTC) + timedelta(days=1)).date()
    slots = await narrator.ask("GET", f"/v1/doctors/{doctor_id}/slots?from={day}&to={day}&tz=Asia/Kolkata")
    items = cast("list[dict[str, Any]]", slots["items"])
    if not items:
        raise DemoError("the doctor has no free time tomorrow")
    return secrets.choice(items)


async def book(narrator: Narrator, doctor_id: str, slot: Mapping[str, Any]) -> dict[str, Any]:
    """Book once, ask again with the same key, read it."""
    narrator.say(
        "She books. The request starts a Temporal workflow, which claims doctor and patient in one transaction."
    )
    key = {"Idempotency-Key": secrets.token_urlsafe(16)}
    wish = {"doctor_id": doctor_id, "starts_at": slot["starts_at"], "mode": "video", "reason": "An itching rash"}
    booking = await narrator.ask("POST", "/v1/bookings", 201, json=wish, headers=key)
    narrator.say("Her phone lost the answer and asks again with the same key: the same booking, not a second one.")
    again = await narrator.ask("POST", "/v1/bookings", 201, json=wish, headers=key)
    if again != booking:
        raise DemoError("the second answer differs from the first")
    narrator.say("She reads her booking.")
    return await narrator.ask("GET", f"/v1/bookings/{booking['id']}")


async def look_at_workflow(narrator: Narrator, ui: str | None, booking_id: str) -> None:
    """What support staff see; inputs are sealed there."""
    narrator.say("Support follows the same booking in the Temporal web UI.")
    path = f"/namespaces/amrutam/workflows/{quote(f'booking/{booking_id}', safe='')}"
    if ui is None:
        _print(f"   in your own Temporal UI: {path}")
        return
    answer = await narrator.ask("GET", f"{ui}/api/v1{path}", show=False)
    info = answer["workflowExecutionInfo"]
    state = info["status"].removeprefix("WORKFLOW_EXECUTION_STATUS_").lower()
    _print(f"   {info['type']['name']} {info['execution']['workflowId']} is {state}, {info['historyLength']} events")
    _print(f"   while the system runs: {ui}{path}")


async def cancel(narrator: Narrator, doctor_id: str, booking: Mapping[str, Any]) -> None:
    """Give the time back and see it free."""
    narrator.say("She cannot come and cancels.")
    wish = {"reason": "I feel better"}
    headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
    await narrator.ask("POST", f"/v1/bookings/{booking['id']}/cancel", json=wish, headers=headers)
    narrator.say("The time is free again at once.")
    day = booking["starts_at"][:10]
    slots = await narrator.ask("GET", f"/v1/doctors/{doctor_id}/slots?from={day}&to={day}&tz=UTC")
    if booking["starts_at"] not in {slot["starts_at"] for slot in slots["items"]}:
        raise DemoError("the time is not offered again")
    _print(f"   {booking['starts_at']} is among them")
    _print("\nThat was one patient's journey: nothing lost, nothing doubled.")


async def _admins_token(narrator: Narrator) -> str:
    """Raises DemoError with what to do when the demo's administrator does not sign in by the demo's password alone."""
    login = {"email": ADMIN, "password": PASSWORD}
    try:
        answer = await narrator.ask("POST", "/v1/auth/login", json=login)
    except DemoError as error:
        raise DemoError(f"{error}.\n{ADMIN_IS_ANOTHER}") from None
    if "access_token" not in answer:
        raise DemoError(f"{ADMIN} is asked for more than the password.\n{ADMIN_IS_ANOTHER}")
    return answer["access_token"]


async def _token_in_mail(narrator: Narrator, email: str) -> str:
    """The token of the link, read from the demo's outbox as an administrator would."""
    headers = {"Authorization": f"Bearer {await _admins_token(narrator)}"}
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        mails = await narrator.ask("GET", "/v1/admin/outbox", params={"to": email}, headers=headers)
        if mails["items"]:
            words = str(mails["items"][0]["text"]).split()
            link = next(word for word in words if "token=" in word)
            return parse_qs(urlsplit(link).query)["token"][0]
        await asyncio.sleep(0.3)
    raise DemoError("the mail did not come within 20 s")


@contextlib.asynccontextmanager
async def running_system(url: str) -> AsyncGenerator[bool, None]:
    """The system at `url`; yields whether it had to be started, in which case it is stopped at the end."""
    if await answers_ok(f"{url}/health/ready"):
        yield False
        return
    _print("Amrutam does not run yet: starting it.")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "amrutam.stack.up", cwd=CHECKOUT, start_new_session=True
    )
    try:
        await _until_ready(url, process)
        yield True
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not await answers_ok(f"{url}/health/ready"):
        if process.returncode is not None or time.monotonic() > deadline:
            raise DemoError("the system did not start; see above")
        await asyncio.sleep(0.3)


async def main() -> int:
    """Exit status 0 when the journey went as it should."""
    port, ui_port = os.environ.get("PORT", "8000"), os.environ.get("TEMPORAL_UI_PORT", "8233")
    url = f"http://{LOOPBACK}:{port}"
    ui = os.environ.get("TEMPORAL_UI_URL") or f"http://{LOOPBACK}:{ui_port}"
    try:
        async with running_system(url) as started:
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                await journey(Narrator(client), ui if await answers_ok(ui) else None)
            if started and sys.stdout.isatty():
                _print("The system still runs, so that you can look around. Press Enter to stop it.")
                await asyncio.to_thread(sys.stdin.readline)
    except DemoError as error:
        _print(f"\nThe demo stopped: {error}")
        return 1
    return 0


def _shown(value: Any) -> Any:
    """The value without what opens doors."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        secret = {"password", "access_token", "refresh_token", "mfa_token", "token"}
        return {key: "…" if key in secret else _shown(each) for key, each in fields.items()}
    return value


def _short(value: Any) -> str:
    """One line: of a list how many there are and the first, of anything long its beginning."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        items = cast("list[Any]", value["items"])
        return f"{len(items)} item{'' if len(items) == 1 else 's'}" + (
            f", the first: {_short(items[0])}" if items else ""
        )
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …"


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
