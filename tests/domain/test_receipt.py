"""Receipts: what does not add up is none."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from amrutam.domain.receipt import (
    PaidBack,
    Receipt,
    ReceiptLine,
    Totals,
    financial_year,
    receipt_number,
    written,
)
from tests.papers import a_receipt


def test_a_free_of_tax_visit_costs_what_its_price_says() -> None:
    line = ReceiptLine.of_price("Video visit", 50000)
    assert (line.sac, line.taxable_amount, line.tax_permille, line.total) == ("999312", 50000, 0, 50000)
    assert a_receipt(lines=[line]).is_exempt


def test_a_price_that_holds_the_tax_is_split_to_the_last_paisa() -> None:
    within = ReceiptLine.of_price("Diet plan", 118000, 180)
    assert (within.taxable_amount, within.cgst, within.sgst, within.igst) == (100000, 9000, 9000, 0)
    across = ReceiptLine.of_price("Diet plan", 10000, 180, within_state=False)
    assert (across.taxable_amount, across.cgst, across.sgst, across.igst) == (8475, 0, 0, 1525)


@given(price=st.integers(0, 10**10), permille=st.sampled_from([0, 1, 50, 120, 180, 280, 1000]), within=st.booleans())
def test_whatever_the_price_the_parts_are_the_whole(price: int, permille: int, within: bool) -> None:
    line = ReceiptLine.of_price("Visit", price, permille, within_state=within)
    assert line.total == price
    assert Totals.of([line, line]).total == 2 * price


@pytest.mark.parametrize(
    "changed",
    [
        {"taxable_amount": 99999},
        {"unit_amount": 100001},
        {"quantity": 2},
        {"cgst": 9001},
        {"cgst": 8990, "sgst": 8990},
        {"cgst": 0, "sgst": 0, "igst": 18002},
        {"igst": 18000},
        {"tax_permille": 0},
        {"tax_permille": 120},
        {"taxable_amount": -1},
        {"cgst": 9000.0},
        {"sac": "video"},
    ],
)
def test_a_line_that_does_not_add_up_is_refused(changed: dict[str, Any]) -> None:
    line = ReceiptLine.of_price("Diet plan", 118000, 180).model_dump()
    with pytest.raises(ValidationError):
        ReceiptLine.model_validate({**line, **changed})


@pytest.mark.parametrize("total", Totals.model_fields)
def test_totals_that_are_not_the_sums_are_refused(total: str) -> None:
    receipt = a_receipt()
    wrong = receipt.totals.model_copy(update={total: getattr(receipt.totals, total) + 1})
    with pytest.raises(ValidationError, match="sums"):
        a_receipt(totals=wrong)


def test_no_more_goes_back_than_was_paid() -> None:
    most = a_receipt().totals.total
    halves = [PaidBack(on=date(2026, 12, 1), amount=most // 2), PaidBack(on=date(2026, 12, 2), amount=most - most // 2)]
    assert a_receipt(refunds=halves).refunded == most
    with pytest.raises(ValidationError, match="no more"):
        a_receipt(refunds=[*halves, PaidBack(on=date(2026, 12, 3), amount=1)])
    with pytest.raises(ValidationError):
        PaidBack(on=date(2026, 12, 1), amount=0)


@pytest.mark.parametrize(
    ("moment", "year"),
    [
        (datetime(2026, 3, 31, 18, 29, 59, tzinfo=UTC), "2025-26"),
        (datetime(2026, 3, 31, 18, 30, tzinfo=UTC), "2026-27"),  # midnight in India
        (datetime(2026, 12, 31, 23, tzinfo=UTC), "2026-27"),
        (datetime(2099, 6, 1, tzinfo=UTC), "2099-00"),
    ],
)
def test_a_financial_year_begins_in_april_in_india(moment: datetime, year: str) -> None:
    assert financial_year(moment) == year
    assert receipt_number(moment, 123) == f"AMR-{year[2:4]}{year[5:]}/000123"


def test_a_number_is_of_the_year_in_which_the_receipt_is_issued() -> None:
    with pytest.raises(ValidationError, match="financial year"):
        a_receipt(number="AMR-2526/000123")
    with pytest.raises(ValidationError):
        a_receipt(number="AMR-2627/12")


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "INR", "₹0.00"),
        (5, "INR", "₹0.05"),
        (99999, "INR", "₹999.99"),
        (100000, "INR", "₹1,000.00"),
        (12345600, "INR", "₹1,23,456.00"),
        (1234567890, "INR", "₹1,23,45,678.90"),
        (123450, "USD", "USD 1,234.50"),
        (1234567, "JPY", "JPY 1,234,567"),
        (1234567, "KWD", "KWD 1,234.567"),
    ],
)
def test_amounts_are_read_as_in_their_country(amount: int, currency: str, text: str) -> None:
    assert written(amount, currency) == text


def test_a_receipt_travels_as_json_unchanged() -> None:
    receipt = a_receipt()
    assert Receipt.model_validate_json(receipt.model_dump_json()) == receipt
