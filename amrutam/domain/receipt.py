"""Receipts: what a patient paid for a visit, with the tax in it, and what went back.

All amounts are in minor units. They add up to the last of them, or there is no receipt.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from amrutam.domain.common import Instant, Line, Message
from amrutam.domain.wallclock import CalendarDate, TimeZone

# Medical services by the Indian classification (SAC). They are exempt from GST: notification 12/2017, entry 74.
HEALTH_CARE = "999312"
# Whose calendar a receipt's date and its financial year are of.
INDIA = "Asia/Kolkata"
_APRIL = 4
# Decimal places by ISO 4217, where they are not two.
_PLACES = {"JPY": 0, "KRW": 0, "VND": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}

Minor = Annotated[int, Field(ge=0, le=10**12, strict=True)]


class Seller(Message):
    """Who was paid."""

    name: Line
    address: list[Line] = Field(min_length=1, max_length=6)
    gstin: str | None = Field(
        default=None,
        pattern=r"^[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]$",
        description="of those registered for GST",
    )


class ReceiptLine(Message):
    """One thing that was paid for. Within a state its tax is CGST and SGST, half each; across states it is IGST."""

    description: Line
    sac: str = Field(default=HEALTH_CARE, pattern=r"^[0-9]{4,8}$", description="HSN or SAC")
    quantity: int = Field(default=1, ge=1, le=1000, strict=True)
    unit_amount: Minor
    taxable_amount: Minor
    tax_permille: int = Field(default=0, ge=0, le=1000, strict=True)
    cgst: Minor = 0
    sgst: Minor = 0
    igst: Minor = 0

    @classmethod
    def of_price(cls, description: str, price: int, tax_permille: int = 0, *, within_state: bool = True) -> Self:
        """One of something whose price holds the tax already; the tax is what its nearest split leaves."""
        whole = 1000 + tax_permille
        taxable = (2000 * price + whole) // (2 * whole)
        if within_state and (price - taxable) % 2:  # CGST and SGST are equal
            taxable += 1 if taxable * whole <= 1000 * price else -1
        tax = price - taxable
        half, all_of_it = (tax // 2, 0) if within_state else (0, tax)
        return cls(
            description=description,
            unit_amount=taxable,
            taxable_amount=taxable,
            tax_permille=tax_permille,
            cgst=half,
            sgst=half,
            igst=all_of_it,
        )

    @property
    def total(self) -> int:
        """What was paid for it."""
        return self.taxable_amount + self.cgst + self.sgst + self.igst

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.taxable_amount != self.quantity * self.unit_amount:
            raise ValueError("the taxable amount should be quantity times unit amount")
        if self.cgst != self.sgst or (self.igst and self.cgst):
            raise ValueError("the tax should be CGST and SGST in equal parts, or IGST alone")
        tax = self.cgst + self.sgst + self.igst
        parts = 1 if self.igst else 2  # each is rounded, so that it may be off by one minor unit
        roundings = 1000 * parts if self.tax_permille else 0
        if abs(1000 * tax - self.tax_permille * self.taxable_amount) > roundings:
            raise ValueError("the tax should be what its rate makes of the taxable amount")
        return self


class Totals(Message):
    """The sums of a receipt's lines."""

    taxable_amount: Minor
    cgst: Minor
    sgst: Minor
    igst: Minor
    total: Minor

    @classmethod
    def of(cls, lines: Sequence[ReceiptLine]) -> Self:
        """As the lines add up."""
        return cls(
            taxable_amount=sum(line.taxable_amount for line in lines),
            cgst=sum(line.cgst for line in lines),
            sgst=sum(line.sgst for line in lines),
            igst=sum(line.igst for line in lines),
            total=sum(line.total for line in lines),
        )


class PaidBack(Message):
    """A refund that the patient has."""

    on: CalendarDate
    amount: Annotated[Minor, Field(gt=0)]


class Receipt(Message):
    """Everything that a receipt says. The same receipt is the same paper."""

    number: str = Field(pattern=r"^AMR-[0-9]{4}/[0-9]{6,7}$", examples=["AMR-2627/000123"])
    issued_at: Instant
    seller: Seller
    buyer_name: Line
    doctor_name: Line
    registration_number: Line
    visit_at: Instant
    time_zone: TimeZone  # of the patient
    lines: list[ReceiptLine] = Field(min_length=1, max_length=50)
    totals: Totals
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code", examples=["INR"])
    paid_via: Line
    charge_id: Line
    refunds: list[PaidBack] = Field(default_factory=list[PaidBack], max_length=50)

    @property
    def refunded(self) -> int:
        """What went back."""
        return sum(refund.amount for refund in self.refunds)

    @property
    def is_exempt(self) -> bool:
        """Whether there is no tax on any of it."""
        return all(line.tax_permille == 0 for line in self.lines)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.totals != Totals.of(self.lines):
            raise ValueError("the totals should be the sums of the lines")
        if self.refunded > self.totals.total:
            raise ValueError("no more should go back than was paid")
        if not self.number.startswith(receipt_number(self.issued_at, 0)[:9]):
            raise ValueError("the number should be of the financial year in which the receipt is issued")
        return self


def receipt_number(issued_at: datetime, serial: int) -> str:
    """The number of the receipt that is the `serial`th of its financial year, as in AMR-2627/000123: the rules of GST
    allow sixteen characters.
    """
    return f"AMR-{financial_year(issued_at)[2:].replace('-', '')}/{serial:06}"


def financial_year(moment: datetime) -> str:
    """The Indian financial year, April to March, as in 2026-27."""
    day = moment.astimezone(ZoneInfo(INDIA)).date()
    first = day.year if day.month >= _APRIL else day.year - 1
    return f"{first}-{(first + 1) % 100:02}"


def written(amount: int, currency: str) -> str:
    """An amount as people read it: ₹1,23,456.00 in rupees, grouped as in India, and USD 1,234.50 in any other money."""
    places = _PLACES.get(currency, 2)
    whole, fraction = divmod(amount, 10**places)
    grouped = _in_indian_groups(whole) if currency == "INR" else f"{whole:,}"
    text = f"{grouped}.{fraction:0{places}}" if places else grouped
    return f"₹{text}" if currency == "INR" else f"{currency} {text}"


def _in_indian_groups(whole: int) -> str:
    """Three digits last, and two in each group before them."""
    digits = str(whole)
    first = re.sub(r"(?<=\d)(?=(\d\d)+$)", ",", digits[:-3])
    return f"{first},{digits[-3:]}" if first else digits
