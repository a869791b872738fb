"""What kind of device somebody uses, as far as it says so itself."""

import re
from collections.abc import Mapping

# What a browser calls itself, most telling first: nearly all of them also say that they are Chrome, and Safari.
_BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "SamsungBrowser": "Samsung Internet",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "CriOS": "Chrome",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "CrOS": "ChromeOS",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}
# The name of an app. Too little for a sentence or an address, since a mail quotes it to the account's owner.
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,29}")
NOT_SAID = "unknown app"


def family(user_agent: str) -> str:
    """Browser and system by name, such as `Firefox on Android`; for apps their first word. Nothing more of it."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser:
        return f"{browser} on {system}" if system else browser
    product = _PRODUCT.match(user_agent)
    return product[0] if product else NOT_SAID


def _first(names: Mapping[str, str], user_agent: str) -> str | None:
    return next((name for mark, name in names.items() if mark in user_agent), None)
