"""The chain over the audit trail, without a database: marks tell rows apart, and the first difference is the first."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrutam.domain.audit_seals import (
    MARK_BYTES,
    Difference,
    Place,
    SealedRow,
    Value,
    digest_of,
    first_difference,
    mark_of,
    marks_of,
    seal,
)

VALUES = st.one_of(st.none(), st.binary(max_size=8), st.text(max_size=8))
LISTS = st.lists(VALUES, min_size=3, max_size=3)


def _row(number: int, *values: Value) -> SealedRow:
    return SealedRow(Place(number, UUID(int=number)), values or ("booking.read", None, b"sealed"))


def _bytes(values: Sequence[Value]) -> list[bytes | None]:
    return [value.encode() if isinstance(value, str) else value for value in values if not isinstance(value, UUID)]


@given(LISTS, LISTS)
def test_two_rows_have_one_mark_only_when_every_value_is_the_same(one: list[Value], other: list[Value]) -> None:
    assert (mark_of(_row(1, *one)) == mark_of(_row(1, *other))) is (_bytes(one) == _bytes(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [(("ab", "c"), ("a", "bc")), ((None, ""), ("", None)), ((b"\xff\xff\xff\xff", None), (None, b"\xff\xff\xff\xff"))],
)
def test_what_moves_from_one_column_to_the_next_shows(one: Sequence[Value], other: Sequence[Value]) -> None:
    assert mark_of(_row(1, *one)) != mark_of(_row(1, *other))


def test_a_place_is_part_of_the_mark() -> None:
    here = _row(1)
    assert len({mark_of(each).hash for each in (here, _row(2), here._replace(place=Place(1, UUID(int=2))))}) == 3


def test_a_seal_gives_back_the_marks_of_its_rows() -> None:
    rows = [_row(number) for number in range(1, 6)]
    made = seal(None, rows)
    assert (made.number, made.last, len(made.marks)) == (1, rows[-1].place, 5 * MARK_BYTES)
    assert marks_of(made.marks) == [mark_of(row) for row in rows]


def test_a_seal_depends_on_every_seal_before_it() -> None:
    first, other = seal(None, [_row(1)]), seal(None, [_row(1, "changed")])
    after, after_other = seal(first, [_row(2)]), seal(other, [_row(2)])
    assert after.number == after_other.number == 2
    assert after.marks == after_other.marks
    assert after.digest != after_other.digest
    assert after.digest == digest_of(first.digest, 2, after.marks) != digest_of(first.digest, 3, after.marks)


ROWS = [_row(number) for number in range(1, 5)]
PLACES = [row.place for row in ROWS]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (ROWS, None),
        ([ROWS[0], _row(2, "changed"), *ROWS[2:]], Difference(PLACES[1], PLACES[1])),
        ([ROWS[0], *ROWS[2:]], Difference(PLACES[1], PLACES[2])),
        (ROWS[:3], Difference(PLACES[3], None)),
        ([*ROWS, _row(5)], Difference(None, Place(5, UUID(int=5)))),
        ([_row(0), *ROWS], Difference(PLACES[0], Place(0, UUID(int=0)))),
        ([], Difference(PLACES[0], None)),
    ],
)
def test_the_first_difference_is_found(found: list[SealedRow], difference: Difference | None) -> None:
    assert first_difference([mark_of(row) for row in ROWS], found) == difference
