"""Pages that a person meets outside an app."""

import secrets

from web.context import Answer, Call
from web.routing import EVERYONE, Feature
from web.templates import page

pages = Feature("pages")


@pages.route("GET", "/verify-email", allow=EVERYONE, owns="public", answers={200: None})
async def verify_email(call: Call) -> Answer:  # noqa: ARG001 - every handler takes the call
    """Where the link of a verification mail leads. The page alone reads the token, and sends it when a person asks.

    Nothing happens by opening it: scanners open links before people do.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Answer(
        page("verify_email.html", nonce=nonce),
        headers={
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
