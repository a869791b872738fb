"""Whoever holds the key-encryption keys: the keyring's file, or a service that may be slow, away or wrong."""

import asyncio
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amrutam.crypto import Keyring, SealError, SealingKeys, head, split
from amrutam.kms import Envelope, KeyringKms, KmsUnavailable
from amrutam.storage.blind_index import BlindIndex
from amrutam.storage.person_keys import PersonKeys
from amrutam.storage.pool import Database

KEYRING = Keyring.model_validate_json(Keyring.generate("demo"))
OTHER = Keyring.model_validate_json(Keyring.generate("demo"))


class Service:
    """A key management service elsewhere, with one key."""

    current = "kek-7"

    def __init__(self, *, answers: bool = True) -> None:
        self._keys = SealingKeys(self.current, {self.current: bytes(32)})
        self._answers = answers
        self.asked: list[str] = []

    async def wrap(self, key: str, plain: bytes, bound_to: bytes) -> bytes:
        await self._think(key)
        return self._keys.encrypt(key, plain, bound_to)

    async def unwrap(self, key: str, wrapped: bytes, bound_to: bytes) -> bytes:
        await self._think(key)
        return self._keys.decrypt(key, wrapped, bound_to)

    async def _think(self, key: str) -> None:
        self.asked.append(key)
        if not self._answers:
            await asyncio.Event().wait()


async def test_a_service_is_asked_by_the_name_of_the_key_and_a_value_names_its_key() -> None:
    service = Service()
    envelope = Envelope(service)
    sealed = await envelope.seal(b"data key", b"here")
    assert split(sealed) == ("kek-7", head("kek-7"))
    assert await envelope.open(sealed, b"here") == b"data key"
    assert service.asked == ["kek-7", "kek-7"]


async def test_a_service_that_does_not_answer_is_away_in_time() -> None:
    sealed = await Envelope(Service()).seal(b"data key", b"here")
    away = Envelope(Service(answers=False), seconds=0.01)
    with pytest.raises(KmsUnavailable):
        await away.open(sealed, b"here")
    with pytest.raises(KmsUnavailable):
        await away.seal(b"data key", b"here")


async def test_data_keys_are_wrapped_by_the_service_that_is_given(db: Database, some_id: UUID) -> None:
    service, asked_once = Service(), ["kek-7"]
    keys = PersonKeys(KEYRING, kms=service)
    async with db.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        made = await keys.create(connection, some_id)
        assert service.asked == asked_once
        assert (await keys.of(connection, some_id)).open(made.seal("text", b"here"), b"here") == "text"
        keys.use(OTHER)  # another file has no say in what the service wraps
        await keys.several(connection, [some_id])
        assert service.asked == asked_once * 2  # and what was unwrapped is remembered
        await transaction.rollback()


@given(plain=st.binary(max_size=64), bound_to=st.binary(max_size=64), data=st.data())
async def test_a_wrapped_value_that_was_cut_changed_or_moved_never_opens(
    plain: bytes, bound_to: bytes, data: st.DataObject
) -> None:
    envelope = Envelope(KeyringKms(KEYRING))
    sealed = await envelope.seal(plain, bound_to)
    assert await envelope.open(sealed, bound_to) == plain
    cut = data.draw(st.integers(0, len(sealed) - 1))
    position, flip = data.draw(st.integers(0, len(sealed) - 1)), data.draw(st.integers(1, 255))
    changed = sealed[:position] + bytes([sealed[position] ^ flip]) + sealed[position + 1 :]
    elsewhere = data.draw(st.binary(max_size=64).filter(lambda each: each != bound_to))
    for value, where in (
        (sealed[:cut], bound_to),
        (sealed[cut + 1 :], bound_to),
        (changed, bound_to),
        (sealed, elsewhere),
    ):
        with pytest.raises(SealError):
            await envelope.open(value, where)
    with pytest.raises(SealError):
        await Envelope(KeyringKms(OTHER)).open(sealed, bound_to)


@given(rubbish=st.binary(max_size=200))
async def test_what_was_never_sealed_never_opens(rubbish: bytes) -> None:
    for keys in (KEYRING.master.sealing("operations"), KEYRING.codec.sealing("temporal-codec")):
        with pytest.raises(SealError):
            keys.open(rubbish, b"here")
    with pytest.raises(SealError):
        await Envelope(KeyringKms(KEYRING)).open(rubbish, b"here")


PHONES = st.from_regex(r"\+[1-9][0-9]{7,14}", fullmatch=True)


@given(phone=PHONES, other=PHONES)
def test_a_number_has_one_mark_under_each_key_and_no_other_number_has_it(phone: str, other: str) -> None:
    index, foreign = BlindIndex(KEYRING.index), BlindIndex(OTHER.index)
    assert index.known_as(phone) == [index.of(phone)]
    assert (index.of(phone) == index.of(other)) is (phone == other)
    assert index.of(phone) != foreign.of(phone)
    assert phone.encode() not in index.of(phone)
