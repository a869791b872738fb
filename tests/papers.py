"""Receipts for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from amrutam.domain.receipt import Receipt, ReceiptLine, Seller, Totals

SELLER = Seller(
    name="Amrutam Health Private Limited",
    address=["12 MG Road, Ashok Nagar", "Bengaluru, Karnataka 560001"],
    gstin="29ABCDE1234F1Z5",
)


def a_receipt(lines: Sequence[ReceiptLine] | None = None, **changed: Any) -> Receipt:
    """One visit of ₹1,250.00, exempt from tax, unless told otherwise."""
    lines = lines or [ReceiptLine.of_price("Video visit, 15 minutes", 125000)]
    said = {
        "number": "AMR-2627/000123",
        "issued_at": datetime(2026, 11, 28, 10, 15, tzinfo=UTC),
        "seller": SELLER,
        "buyer_name": "Asha Rao",
        "doctor_name": "Dr Meera Iyer",
        "registration_number": "KMC-48213 (Karnataka Medical Council)",
        "visit_at": datetime(2026, 11, 30, 4, 30, tzinfo=UTC),
        "time_zone": "Asia/Kolkata",
        "lines": lines,
        "totals": Totals.of(lines),
        "currency": "INR",
        "paid_via": "Razorpay",
        "charge_id": "pay_29QQoUBi66xm2f",
    }
    return Receipt.model_validate({**said, **changed})
