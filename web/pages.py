"""Pages that a person meets outside an app: where the links in mails lead.

The page alone reads the token, and sends it when a person asks. Nothing happens by opening it: scanners open links
before people do.
"""

import secrets
from typing import Any

from web.context import Answer, Call
from web.routing import EVERYONE, Feature
from web.templates import page

pages = Feature("pages")


@pages.route("GET", "/verify-email", allow=EVERYONE, owns="public", answers={200: None})
async def verify_email(_call: Call) -> Answer:
    """Where the link of a verification mail leads."""
    return html("verify_email.html")


@pages.route("GET", "/reset-password", allow=EVERYONE, owns="public", answers={200: None})
async def reset_password(_call: Call) -> Answer:
    """Where the link leads that lets somebody choose another password."""
    return html("reset_password.html")


@pages.route("GET", "/change-email", allow=EVERYONE, owns="public", answers={200: None})
async def change_email(_call: Call) -> Answer:
    """Where both links of a change of address lead."""
    return html("change_email.html")


@pages.route("GET", "/invitation", allow=EVERYONE, owns="public", answers={200: None})
async def invitation(_call: Call) -> Answer:
    """Where the link of an invitation leads."""
    return html("invitation.html")


def html(name: str, *, draws: bool = False, **values: Any) -> Answer:
    """A page of `amrutam/templates/pages` that loads nothing, and runs its own script alone.

    `draws`: it shows pictures that its script holds.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; {'img-src data:; ' * draws}"
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Answer(
        page(name, nonce=nonce, **values),
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
