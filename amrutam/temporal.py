"""How every process reaches Temporal: encrypted payloads, encoded failures, one client a process."""

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, TLSConfig

from amrutam.crypto import Keyring, SealError, SealingKeys
from amrutam.settings import Settings
from amrutam.telemetry import seal_broken

BOOKINGS_QUEUE = "bookings"
BACKGROUND_QUEUE = "background"
# Apart from both: there may be thousands at once, and for what is in the background somebody may wait.
MAILS_QUEUE = "mails"
# Apart from bookings: a gateway that is slow must not keep anybody's time from being claimed.
PAYMENTS_QUEUE = "payments"

BOOKING_STATUS = SearchAttributeKey.for_keyword("BookingStatus")
DOCTOR_ID = SearchAttributeKey.for_keyword("DoctorId")
PATIENT_ID = SearchAttributeKey.for_keyword("PatientId")
STARTS_AT = SearchAttributeKey.for_datetime("StartsAt")
SEARCH_ATTRIBUTES = (BOOKING_STATUS, DOCTOR_ID, PATIENT_ID, STARTS_AT)

# A workflow that is asked from an activity answers within this, so that the activity has the last word.
ANSWER = timedelta(seconds=8)

_ENCODING = b"binary/encrypted"
_BOUND_TO = b"temporal-payload"
_HEALTH = timedelta(seconds=2)


class SealingCodec(PayloadCodec):
    """AES-256-GCM over every payload. Payloads that are not sealed (a signal typed into the web UI) pass through."""

    def __init__(self, keys: SealingKeys) -> None:
        self._keys = keys

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each payload under the current key."""
        return [
            Payload(
                metadata={"encoding": _ENCODING},
                data=self._keys.seal(payload.SerializeToString(), _BOUND_TO),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open what is sealed. Raises SealError."""
        return [self._open(payload) for payload in payloads]

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != _ENCODING:
            return payload
        try:
            return Payload.FromString(self._keys.open(payload.data, _BOUND_TO))
        except SealError as error:
            seal_broken("payload", _BOUND_TO, str(error))
            raise


def data_converter(keyring: Keyring) -> DataConverter:
    """Pydantic models as JSON, sealed; messages and stack traces of failures sealed with them."""
    return DataConverter(
        payload_converter_class=PydanticPayloadConverter,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        payload_codec=SealingCodec(keyring.codec.sealing("temporal-codec")),
    )


def forward_core_logs() -> None:
    """Send what the SDK's core has to say through this process's own logging. Once, before the first client."""
    forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"), append_log_fields_to_message=False)
    logs = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=logs)))


async def connect(settings: Settings, keyring: Keyring, *, lazy: bool = False) -> Client:
    """A client of this installation's namespace; `lazy` connects at the first call, so that a process starts alone."""
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        data_converter=data_converter(keyring),
        tls=_tls(settings) if settings.temporal_tls_cert else False,
        lazy=lazy,
        identity=f"amrutam-{os.getpid()}",
    )


def _tls(settings: Settings) -> TLSConfig:
    return TLSConfig(
        client_cert=_read(settings.temporal_tls_cert),
        client_private_key=_read(settings.temporal_tls_key),
        server_root_ca_cert=_read(settings.temporal_tls_ca),
    )


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


async def is_reachable(client: Client) -> bool:
    """Whether the server answers now."""
    try:
        return await client.service_client.check_health(timeout=_HEALTH)
    except (RPCError, RuntimeError):
        return False
