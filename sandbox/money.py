"""Amounts as a person reads them."""

_SIGNS = {"INR": "₹", "EUR": "€", "GBP": "£", "JPY": "¥"}
# Whose smallest unit is not a hundredth (ISO 4217): it is the whole, or a thousandth.
_WHOLE = frozenset({"CLP", "ISK", "JPY", "KRW", "UGX", "VND"})
_THOUSANDTHS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def shown(amount: int, currency: str) -> str:
    """Minor units as `₹1,00,000.00`, grouped as in India for rupees, or `USD 100,000.00`."""
    digits = 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2
    whole, rest = divmod(amount, 10**digits)
    grouped = _as_in_india(whole) if currency == "INR" else f"{whole:,}"
    sign = _SIGNS.get(currency, f"{currency}\N{NO-BREAK SPACE}")
    return f"{sign}{grouped}.{rest:0{digits}d}" if digits else f"{sign}{grouped}"


def _as_in_india(whole: int) -> str:
    """The last three digits, then pairs: lakhs and crores."""
    head, tail = str(whole)[:-3], str(whole)[-3:]
    pairs = [head[max(end - 2, 0) : end] for end in range(len(head), 0, -2)]
    return ",".join([*reversed(pairs), tail])
