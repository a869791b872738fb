"""The page at which staff sign in with a browser, and what it sends.

Other pages of staff are routes with `browser=True`: they know their caller by this page's cookie.
"""

from datetime import timedelta
from typing import Literal

from pydantic import RootModel

from amrutam.domain.auth import LogIn
from amrutam.domain.common import Message, Role
from amrutam.domain.errors import EmailUnverified, Forbidden, InvalidCredentials, Unauthenticated
from amrutam.domain.mfa import VerifyFactor
from amrutam.domain.staff import STAFF
from amrutam.storage import audit, sessions, staff_sessions
from amrutam.storage.auth import Account, token_hash
from web import sign_in, staff_session
from web.context import Answer, Call
from web.devices import HEADER
from web.factor import FactorRule
from web.pages import html
from web.quotas import PASSWORD
from web.routing import EVERYONE, Feature
from web.second_factor import MfaRequired, MfaToEnroll, prove, still_wanted
from web.sign_in import UNSTORED
from web.staff_session import FORM, SESSION

staff_pages = Feature("staff_pages")


class BrowserSignedIn(Message):
    """The browser has the cookie now."""

    status: Literal["authenticated"] = "authenticated"


class BrowserAnswer(RootModel[BrowserSignedIn | MfaRequired | MfaToEnroll]):
    """Signed in, or what is needed beside the password."""


@staff_pages.route("GET", "/staff", allow=EVERYONE, owns="public; shows who is signed in", answers={200: None})
async def read(call: Call) -> Answer:
    """Where staff sign in with a browser."""
    visitor = await staff_session.visitor(call)
    if visitor:
        token = staff_session.csrf_token(call, SESSION, staff_session.sent(call, SESSION))
        return html("staff.html", visitor=visitor, csrf=token)
    cookie = staff_session.sent(call, FORM) or staff_session.new_token()  # kept, for the sake of other tabs
    page = html("staff.html", draws=True, visitor=None, csrf=staff_session.csrf_token(call, FORM, cookie))
    return page._replace(headers={**page.headers, **staff_session.set_cookie(call, FORM, cookie)})


@staff_pages.route(
    "POST",
    "/staff/sign-in",
    allow=EVERYONE,
    owns="staff who know the password; with the page's own token",
    answers={200: BrowserAnswer},
    errors=[InvalidCredentials, EmailUnverified, Forbidden],
    audited=True,
    limit=PASSWORD,
)
async def start(call: Call, command: LogIn) -> Answer:
    """Sign a browser in."""
    staff_session.check_csrf(call, FORM)
    account = await sign_in.recognise(call, command.email, command.password)
    _check_staff(account)
    wanted = await still_wanted(call, account, command.device_name)
    return Answer(wanted, headers=UNSTORED) if wanted else await _open(call, account, command.device_name, ["pwd"])


@staff_pages.route(
    "POST",
    "/staff/code",
    allow=EVERYONE,
    owns="staff who have just given the password and hold the factor; with the page's own token",
    answers={200: BrowserSignedIn},
    errors=[Unauthenticated, InvalidCredentials, Forbidden],
    audited=True,
    limit=PASSWORD,
)
async def show_code(call: Call, command: VerifyFactor) -> Answer:
    """The second half of signing a browser in."""
    staff_session.check_csrf(call, FORM)
    return await _open(call, *await prove(call, command))


@staff_pages.route(
    "POST",
    "/staff/sign-out",
    allow=list(Role),
    owns="the browser's own session",
    answers={204: None},
    audited=True,
    factor=FactorRule.MAY_BE_MISSING,
    browser=True,
)
async def sign_out(call: Call) -> Answer:
    """Sign the browser out."""
    async with call.services.db.transaction() as db:
        ended = await sessions.end(db, call.user_id, [call.session_id])
        await audit.append(db, call.actor, "auth.logout", call.session_id)
    await call.services.markers.note(ended)
    return Answer(status=204, headers=staff_session.set_cookie(call, SESSION, "", max_age=0))


async def _open(call: Call, account: Account, device_name: str | None, methods: list[str]) -> Answer:
    """A session of a browser. Its cookie is a new one: whatever it held before is good for nothing."""
    _check_staff(account)
    token, life = staff_session.new_token(), timedelta(hours=call.services.settings.staff_session_hours)
    async with call.services.db.transaction() as db:
        session, makes_known = await sign_in.begin(
            call, db, account, device_name, methods, call.now + life, hashed=None
        )
        await staff_sessions.insert(db, session.id, token_hash(token))
    cookie = staff_session.set_cookie(call, SESSION, token)
    return Answer(BrowserSignedIn(), headers={**UNSTORED, **cookie, HEADER: makes_known[HEADER]})


def _check_staff(account: Account) -> None:
    """Raises Forbidden."""
    if not account.roles & STAFF:
        raise Forbidden("This page is for staff; patients use the app.")
