"""Papers: what they say can be read, they load nothing, and their process comes and goes as it should."""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import Any

import psutil
import pytest
from pypdf import PdfReader
from structlog.testing import capture_logs

from amrutam.domain.errors import Unavailable
from amrutam.domain.receipt import PaidBack, ReceiptLine
from amrutam.papers import MOST_WAITING, PangoMissing, PaperPool, typeset
from amrutam.stack.ports import LOOPBACK
from tests.papers import SELLER, a_receipt
from tests.polling import until

HOSTILE = "<img src='http://127.0.0.1:9/x'><script>alert(1)</script>&amp;{{ 7 * 7 }}"


@pytest.fixture(scope="module")
async def pool() -> AsyncGenerator[PaperPool]:
    """With a process of its own."""
    pool = PaperPool()
    yield pool
    await pool.close()


def _text(pdf: bytes) -> str:
    """What the paper says, with single spaces."""
    return " ".join(" ".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages).split())


async def test_a_receipt_says_who_paid_whom_how_much_for_which_visit(pool: PaperPool) -> None:
    text = _text(await pool.receipt(a_receipt()))
    for said in (
        "Receipt",
        "AMR-2627/000123",
        "28 November 2026",
        "Amrutam Health Private Limited",
        "12 MG Road, Ashok Nagar",
        "GSTIN 29ABCDE1234F1Z5",
        "Asha Rao",
        "Dr Meera Iyer",
        "KMC-48213",
        "30 November 2026, 10:00 (Asia/Kolkata)",
        "Video visit, 15 minutes",
        "999312",
        "Total paid ₹1,250.00",
        "pay_29QQoUBi66xm2f",
        "exempt from GST",
    ):
        assert said in text, said
    assert "Refunded" not in text


async def test_tax_and_refunds_are_shown_where_there_are_any(pool: PaperPool) -> None:
    line = ReceiptLine.of_price("Diet plan", 118000, 180)
    refunds = [PaidBack.model_validate({"on": "2026-12-01", "amount": 18000})]
    text = _text(await pool.receipt(a_receipt([line], refunds=refunds)))
    for said in (
        "18 %",
        "Taxable amount ₹1,000.00",
        "CGST ₹90.00",
        "SGST ₹90.00",
        "Total paid ₹1,180.00",
        "Refunded on 01 December 2026 \N{MINUS SIGN}₹180.00",
        "Paid after refunds ₹1,000.00",
    ):
        assert said in text, said
    assert "IGST" not in text
    assert "exempt" not in text
    across = ReceiptLine.of_price("Diet plan", 118000, 180, within_state=False)
    text = _text(await pool.receipt(a_receipt([across])))
    assert "IGST ₹180.00" in text
    assert "CGST" not in text


async def test_the_same_receipt_is_the_same_bytes_in_any_process(pool: PaperPool) -> None:
    receipt, other = a_receipt(), PaperPool()
    first = await pool.receipt(receipt)
    assert first == await pool.receipt(receipt) == await other.receipt(receipt)
    assert first != await pool.receipt(a_receipt(buyer_name="Ravi Nair"))
    await other.close()


async def test_a_receipt_is_for_archives_and_for_those_who_have_it_read_to_them(pool: PaperPool) -> None:
    reader = PdfReader(BytesIO(await pool.receipt(a_receipt())))
    catalog: Any = reader.root_object
    assert reader.metadata is not None
    assert (reader.metadata.title, catalog["/Lang"]) == ("Receipt AMR-2627/000123", "en")
    assert catalog["/MarkInfo"]["/Marked"].value
    assert reader.xmp_metadata is not None
    assert (reader.xmp_metadata.pdfaid_part, reader.xmp_metadata.pdfaid_conformance) == ("3", "A")


async def test_names_are_text_whatever_they_hold(pool: PaperPool) -> None:
    seller = SELLER.model_copy(update={"name": HOSTILE})
    line = ReceiptLine.of_price(HOSTILE, 100)
    receipt = a_receipt([line], seller=seller, buyer_name=HOSTILE, doctor_name=HOSTILE, paid_via=HOSTILE)
    text = _text(await pool.receipt(receipt)).replace(" ", "")
    assert text.count(HOSTILE.replace(" ", "")) == 5


async def test_a_name_in_a_script_of_india_has_its_letters(pool: PaperPool) -> None:
    pdf = await pool.receipt(a_receipt(buyer_name="आशा राव", doctor_name="டாக்டர் மீரா"))
    assert "आशा राव" in _text(pdf)
    fonts: Any = PdfReader(BytesIO(pdf)).pages[0]["/Resources"]
    names = " ".join(str(font.get_object()["/BaseFont"]) for font in fonts["/Font"].values())
    assert "Devanagari" in names
    assert "Tamil" in names


async def test_long_names_and_many_lines_go_on_to_the_next_page(pool: PaperPool) -> None:
    lines = [ReceiptLine.of_price(f"{number}-" + "W" * 190, 10**9) for number in range(50)]
    pdf = await pool.receipt(a_receipt(lines, buyer_name="W" * 200))
    assert len(PdfReader(BytesIO(pdf)).pages) > 1
    assert "Total paid ₹50,00,00,000.00" in _text(pdf)


@pytest.mark.parametrize(
    "page",
    [
        "<img src='{url}'>",
        "<link rel=stylesheet href='{url}'>",
        "<link rel=attachment href='{url}'>",
        "<style>@import '{url}'</style>",
        "<style>@font-face {{ font-family: x; src: url('{url}') }}</style><p style='font-family: x'>x",
        "<p style='background: url({url})'>x",
        "<object data='{url}'></object>",
        "<a rel=attachment href='{url}'>x</a>",
    ],
)
async def test_a_page_that_refers_to_anything_is_no_paper_and_nothing_is_asked_for(pool: PaperPool, page: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        server.setblocking(False)
        for url in (f"http://{LOOPBACK}:{server.getsockname()[1]}/x", "file:///etc/hostname", "data:image/png,x"):
            with pytest.raises(ValueError, match="loads nothing"):
                await pool.make(typeset, page.format(url=url))
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_the_process_starts_with_the_first_paper_and_ends_with_the_pool() -> None:
    before, pool = multiprocessing.active_children(), PaperPool()
    assert multiprocessing.active_children() == before
    process = await pool.make(os.getpid)
    assert process in {child.pid for child in multiprocessing.active_children()}
    assert process == await pool.make(os.getpid)
    await pool.close()
    assert not psutil.pid_exists(process)
    await pool.close()


async def test_a_process_that_is_lost_is_followed_by_another(pool: PaperPool) -> None:
    os.kill(await pool.make(os.getpid), signal.SIGKILL)
    with pytest.raises(Unavailable):
        await pool.receipt(a_receipt())
    assert (await pool.receipt(a_receipt())).startswith(b"%PDF")


async def test_a_paper_that_takes_too_long_is_given_up_and_holds_up_no_other() -> None:
    pool = PaperPool(most_seconds=1)
    with pytest.raises(Unavailable):
        await pool.make(time.sleep, 100)
    assert await pool.make(os.getpid)
    await pool.close()


async def test_no_more_wait_than_can_be_served_soon(pool: PaperPool) -> None:
    asked = [asyncio.create_task(pool.receipt(a_receipt())) for _ in range(MOST_WAITING + 5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in answers] == [bytes] * MOST_WAITING + [Unavailable] * 5
    assert (await pool.receipt(a_receipt())).startswith(b"%PDF")


async def test_where_the_libraries_are_missing_it_is_said_which_and_how_to_get_them(pool: PaperPool) -> None:
    with capture_logs() as logs, pytest.raises(Unavailable):
        await pool.make(without_pango)
    [line] = logs
    assert "libpango-1.0-0" in line["reason"]


def without_pango() -> None:
    """As `typeset` does where Pango is not installed."""
    raise PangoMissing.because("cannot load library")


async def test_the_process_of_a_server_that_is_killed_ends_too() -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=PIPE)
    assert server.stdout
    process = int(await server.stdout.readline())
    server.kill()
    await server.wait()

    async def gone() -> bool:
        return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE

    await until(gone)


SERVER = """
import asyncio, os
from amrutam.papers import PaperPool

async def serve():
    print(await PaperPool().make(os.getpid), flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""
