"""Everything that can be set from outside, by environment variable, each with its unit.

`AMRUTAM_MODE` is `production` when unset. Secrets are `SecretStr`, so that neither a log nor a traceback shows them.
"""

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from amrutam.domain.common import Role
from amrutam.domain.payment import RefundRule, RefundRules
from amrutam.domain.receipt import Seller

# They see other people's health data, or open doors to it.
MUST_HAVE_MFA = frozenset({Role.DOCTOR, Role.SUPPORT, Role.ADMIN})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# OWASP's least for argon2id, for which it gives both together.
LEAST_MEMORY_KIB, LEAST_PASSES = 19 * 1024, 2
PAYMENT_SANDBOX = "PAYMENT_SANDBOX_URL, PAYMENT_SANDBOX_KEY, PAYMENT_SANDBOX_WEBHOOK_SECRET"
MIGRATES_BY_TLS = "MIGRATION_DATABASE_URL: needs ?sslmode=verify-full (plain-text connections are refused)"


class SettingsError(Exception):
    """Some settings do not fit; the message names every one of them."""


class Settings(BaseSettings):
    """One process's settings. Field names in upper case are the variables."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    amrutam_mode: Literal["production", "demo"] = Field(
        "production", description="demo: a trial on one machine, with local mail and known logins"
    )
    amrutam_demo_expose: bool = Field(False, description="let demo mode listen beyond this machine")
    amrutam_keyring: Path = Field(description="JSON file with every key, made by `python -m amrutam keys init`")

    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="of the API")
    metrics_host: str = Field("127.0.0.1", description="address that metrics listen on; never a public one")
    metrics_port: int = Field(9464, ge=1, le=65535, description="/metrics and /health/detail; never public")
    public_url: str = Field("http://127.0.0.1:8000", description="how a patient's browser reaches the API; in mails")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="origins allowed to call from a browser, comma-separated"
    )
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode] = Field(
        default_factory=list[IPvAnyNetwork],
        description="networks of the proxies whose X-Forwarded-For is believed, comma-separated, as 10.0.0.0/8",
    )
    rate_limit_seconds: int = Field(60, ge=1, description="time in which all that was spent of a rate limit is back")
    rate_limit_user_units: int = Field(
        600, ge=20, description="what a person who signed in may spend; a read costs 1, a write 2, password work 10"
    )
    rate_limit_address_units: int = Field(
        600, ge=20, description="what one address (IPv6: /64) may spend for all who did not sign in"
    )
    rate_limit_factor: int = Field(1, ge=1, le=100_000, description="demo: multiplies every limit of a caller")
    max_body_bytes: int = Field(256 * 1024, ge=1024, description="larger request bodies are refused with 413")
    request_timeout_seconds: float = Field(10, gt=0, description="time for one request, from its last byte")
    temporal_timeout_seconds: float = Field(
        5, gt=0, description="how long a request waits for a workflow before it answers 202"
    )

    database_url: SecretStr = Field(description="postgresql:// of the application's role")
    database_replica_urls: SecretStr | None = Field(
        None, description="the same of streaming replicas, comma-separated; public reads go there"
    )
    replica_most_lag_seconds: float = Field(10, gt=0, description="a replica that is further behind is not read")
    migration_database_url: SecretStr | None = Field(None, description="postgresql:// of the role that owns the schema")
    database_pool_size: int = Field(16, ge=2, description="connections of one process")
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="redis:// or rediss://")

    temporal_address: str = Field("127.0.0.1:7233", description="host:port of its frontend")
    temporal_namespace: str = Field("amrutam", description="where this installation's workflows live")
    temporal_tls_cert: Path | None = Field(None, description="client certificate for mTLS, PEM")
    temporal_tls_key: Path | None = Field(None, description="its key, PEM")
    temporal_tls_ca: Path | None = Field(None, description="the authority that signed the server's certificate, PEM")
    workflow_cache_size: int = Field(
        200, ge=0, description="workflows that a worker keeps in memory, about 0.15 MiB each; others are replayed"
    )
    temporal_retention_days: int = Field(30, ge=1, description="how long closed workflows stay readable")

    smtp_url: SecretStr | None = Field(None, description="smtp:// or smtps:// with user, password, host and port")
    mail_folder: Path | None = Field(None, description="demo: mails are written here as .eml files instead of sent")
    mail_from: str = Field("Amrutam <no-reply@amrutam.test>", description="the sender of mails")

    documents_url: str | None = Field(
        None, description="where photos and documents are kept: file:///folder or s3://bucket/prefix"
    )
    documents_s3_endpoint: str | None = Field(None, description="https:// of a store that speaks S3, if not Amazon's")
    documents_s3_region: str = Field("us-east-1", description="of the bucket")
    documents_s3_access_key: str | None = Field(None, description="of S3; unset: what the machine's own role may")
    documents_s3_secret_key: SecretStr | None = Field(None, description="goes with the access key")
    upload_timeout_seconds: float = Field(60, gt=0, description="time in which the body of an upload must arrive")

    hold_seconds: int = Field(600, ge=30, description="how long a priced time is held while the patient pays")
    hold_most_seconds: int = Field(1800, ge=30, description="how long one hold lasts at most, all extensions included")
    max_unpaid_holds: int = Field(3, ge=1, description="unpaid times a patient may hold at once")
    max_expired_holds: int = Field(5, ge=1, description="unpaid holds a patient may let run out in 24 hours")

    razorpay_url: str = Field("https://api.razorpay.com", description="of Razorpay's API")
    razorpay_key_id: str | None = Field(None, description="of Razorpay; with it patients pay there")
    razorpay_key_secret: SecretStr | None = Field(None, description="goes with the key id")
    razorpay_webhook_secrets: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list[SecretStr],
        description="of Razorpay's webhooks, comma-separated; each is good, so that one can follow another",
    )
    payment_sandbox_url: str | None = Field(None, description="demo: of the payment sandbox, which takes no money")
    payment_sandbox_key: SecretStr | None = Field(None, description="demo: the token of its API")
    payment_sandbox_webhook_secret: SecretStr | None = Field(None, description="demo: signs its webhooks")
    refund_alone_most: int = Field(
        20_000, ge=0, description="what one of support may give back alone, in minor units; above it a second agrees"
    )
    payment_late_minutes: int = Field(
        60, ge=20, description="how long after a hold a gateway may still capture its fee"
    )
    patient_refunds: Annotated[list[RefundRule], NoDecode] = Field(
        default_factory=lambda: [RefundRule(hours=24, percent=100), RefundRule(hours=2, percent=50)],
        description="what a patient who cancels gets back: hours before the visit and per cent, as 24:100,2:50",
    )

    reminder_minutes: Annotated[list[int], NoDecode] = Field(
        default_factory=lambda: [24 * 60, 60, 10],
        description="how many minutes before a visit its patient is reminded, comma-separated; a person may want fewer",
    )

    access_token_seconds: int = Field(600, ge=60, le=3600, description="life of an access token")
    session_days: int = Field(30, ge=1, description="life of a session and its refresh tokens")
    session_idle_days: int = Field(14, ge=1, description="a session that is not used for so long is over before that")
    verification_hours: int = Field(24, ge=1, description="life of the link in a verification mail")

    password_memory_kib: int = Field(19 * 1024, ge=8, description="argon2id: memory of one hash, in KiB")
    password_passes: int = Field(2, ge=1, description="argon2id: passes over that memory")
    reset_minutes: int = Field(30, ge=5, description="life of the link that sets a new password")
    email_change_hours: int = Field(24, ge=1, description="life of the links that confirm a new address")
    invitation_hours: int = Field(72, ge=1, description="life of the link that makes an account for staff")
    staff_session_hours: int = Field(12, ge=1, description="life of a browser's session at /staff")
    staff_idle_minutes: int = Field(30, ge=1, description="how long such a session lasts without being used")
    require_mfa_roles: Annotated[list[Role], NoDecode] | None = Field(
        None, description="roles that need a second factor, comma-separated; doctor, support and admin in production"
    )
    audit_checkpoint_folder: Path | None = Field(
        None, description="where signed checkpoints of the audit trail go; out of reach of the database's owners"
    )

    doctor_access_days: int = Field(
        90, ge=1, description="how long after a visit its doctor still reads what the patient told"
    )

    seller_name: str | None = Field(None, description="who is paid, on receipts; none is given out without")
    seller_address: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="of the seller, up to six lines, separated by semicolons"
    )
    seller_gstin: str | None = Field(None, description="of a seller who is registered for GST")
    gst_permille: int = Field(
        0, ge=0, le=1000, description="GST in what a visit costs, in per mille; health care is exempt"
    )

    review_edit_days: int = Field(14, ge=1, description="how long a patient may change a review")

    keep_claims_hours: int = Field(24, ge=1, description="how long a past claim is kept")
    keep_operations_days: int = Field(7, ge=1, description="how long an idempotency record is kept")
    keep_webhooks_days: int = Field(14, ge=1, description="how long what a gateway told is kept, sealed")
    keep_sessions_days: int = Field(30, ge=1, description="how long an ended session is kept")
    keep_devices_days: int = Field(365, ge=1, description="how long a device is known that nobody signs in on")

    keep_documents_days: int = Field(
        7, ge=1, description="how long a deleted document is kept, and what is left of an upload that failed"
    )

    @field_validator("seller_address", mode="before")
    @classmethod
    def _lines(cls, value: object) -> object:
        return [part.strip() for part in value.split(";") if part.strip()] if isinstance(value, str) else value

    @field_validator("patient_refunds", mode="before")
    @classmethod
    def _rules(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition(":") for part in value.split(",") if part.strip()]
        return [{"hours": hours.strip(), "percent": percent.strip()} for hours, _, percent in pairs]

    @field_validator(
        "cors_origins",
        "trusted_proxies",
        "require_mfa_roles",
        "razorpay_webhook_secrets",
        "reminder_minutes",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def demo(self) -> bool:
        """Whether this is a trial on one machine: local mail, known logins, loopback only."""
        return self.amrutam_mode == "demo"

    @property
    def mfa_roles(self) -> frozenset[Role]:
        """Whoever has one of these roles signs in with a second factor."""
        if self.require_mfa_roles is not None:
            return frozenset(self.require_mfa_roles)
        return frozenset() if self.demo else MUST_HAVE_MFA

    @property
    def replica_urls(self) -> list[str]:
        """Each replica's, in the order in which they were given."""
        given = self.database_replica_urls.get_secret_value() if self.database_replica_urls else ""
        return [part.strip() for part in given.split(",") if part.strip()]

    @property
    def seller(self) -> Seller | None:
        """Who is paid; None where nobody has said. Raises ValidationError."""
        if not self.seller_name or not self.seller_address:
            return None
        return Seller(name=self.seller_name, address=self.seller_address, gstin=self.seller_gstin)

    @property
    def refund_rules(self) -> RefundRules:
        """What goes back when a booking is cancelled."""
        return RefundRules(patient=self.patient_refunds)

    @property
    def temporal_timeout(self) -> timedelta:
        """The wait for a workflow, as Temporal's client takes it."""
        return timedelta(seconds=self.temporal_timeout_seconds)

    def faults(self) -> list[str]:
        """Every setting that this mode refuses, each with what would be right."""
        faults = self._demo_faults() if self.demo else self._production_faults()
        return faults + self._documents_faults()

    def _demo_faults(self) -> list[str]:
        faults: list[str] = []
        if not {self.host, self.metrics_host} <= LOOPBACK and not self.amrutam_demo_expose:
            faults.append("HOST, METRICS_HOST: demo mode listens on 127.0.0.1 only, unless AMRUTAM_DEMO_EXPOSE=yes")
        if not self.smtp_url and not self.mail_folder:
            faults.append("MAIL_FOLDER: name a folder for mails, or an SMTP_URL")
        if any(self._payment_sandbox) and not all(self._payment_sandbox):
            faults.append(f"{PAYMENT_SANDBOX}: go together")
        return faults

    @property
    def _payment_sandbox(self) -> tuple[object, ...]:
        return (self.payment_sandbox_url, self.payment_sandbox_key, self.payment_sandbox_webhook_secret)

    def _documents_faults(self) -> list[str]:
        url = _parts(SecretStr(self.documents_url or ""))
        is_folder = url is not None and url.scheme == "file" and not url.netloc and url.path.startswith("/")
        rules = {
            "DOCUMENTS_URL: needed, as file:///folder or s3://bucket/prefix": is_folder
            or (url is not None and url.scheme == "s3" and bool(url.netloc)),
            "DOCUMENTS_S3_ENDPOINT: needs https:// (plain-text connections are refused)": self.demo
            or not self.documents_s3_endpoint
            or self.documents_s3_endpoint.startswith("https://"),
            "DOCUMENTS_S3_ACCESS_KEY, DOCUMENTS_S3_SECRET_KEY: go together": bool(self.documents_s3_access_key)
            is bool(self.documents_s3_secret_key),
        }
        return [fault for fault, kept in rules.items() if not kept]

    def _production_faults(self) -> list[str]:
        rules = {
            "DATABASE_URL: needs ?sslmode=verify-full (plain-text connections are refused)": has_verified_tls(
                self.database_url
            ),
            "DATABASE_REPLICA_URLS: each needs ?sslmode=verify-full (plain-text connections are refused)": all(
                has_verified_tls(SecretStr(url)) for url in self.replica_urls
            ),
            MIGRATES_BY_TLS: self.migration_database_url is None or has_verified_tls(self.migration_database_url),
            "REDIS_URL: needs rediss:// (plain-text connections are refused)": (
                self.redis_url.get_secret_value().startswith("rediss://")
            ),
            "TEMPORAL_TLS_CERT, TEMPORAL_TLS_KEY: needed, Temporal is reached by mTLS only": bool(
                self.temporal_tls_cert and self.temporal_tls_key
            ),
            "SMTP_URL: needed, as smtps:// or smtp:// with ?starttls=required": bool(
                self.smtp_url and _sends_by_tls(self.smtp_url)
            ),
            "MAIL_FOLDER: local mail exists in demo mode only": self.mail_folder is None,
            f"{PAYMENT_SANDBOX}: exist in demo mode only": not any(self._payment_sandbox),
            "AUDIT_CHECKPOINT_FOLDER: needed, outside the database's machine": self.audit_checkpoint_folder is not None,
            "CORS_ORIGINS: name each origin, as https://app.example.org; *, null and http:// are refused": all(
                map(_is_https_origin, self.cors_origins)
            ),
            "TRUSTED_PROXIES: every address together is no proxy of yours": not _cover_everything(self.trusted_proxies),
            "RATE_LIMIT_FACTOR: exists in demo mode only": self.rate_limit_factor == 1,
            "REQUIRE_MFA_ROLES: doctor, support and admin need a second factor": self.mfa_roles >= MUST_HAVE_MFA,
            f"PASSWORD_MEMORY_KIB: at least {LEAST_MEMORY_KIB}": self.password_memory_kib >= LEAST_MEMORY_KIB,
            f"PASSWORD_PASSES: at least {LEAST_PASSES}": self.password_passes >= LEAST_PASSES,
            "PUBLIC_URL: needs https://": self.public_url.startswith("https://"),
        }
        return [fault for fault, kept in rules.items() if not kept]


def has_verified_tls(url: SecretStr) -> bool:
    """Whether a postgresql:// URL asks for TLS and the right certificate."""
    parts = _parts(url)
    return parts is not None and parse_qs(parts.query).get("sslmode") == ["verify-full"]


def is_local(url: SecretStr) -> bool:
    """Whether a URL leads to this very machine."""
    parts = _parts(url)
    return parts is not None and parts.hostname in LOOPBACK


def _sends_by_tls(url: SecretStr) -> bool:
    """As `SmtpMailer` reads it."""
    parts = _parts(url)
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "smtps" or (parts.scheme == "smtp" and parse_qs(parts.query).get("starttls") == ["required"])


def _is_https_origin(text: str) -> bool:
    """Whether it is what a browser sends as `Origin`: scheme, host and port, nothing else."""
    parts = _parts(SecretStr(text))
    if parts is None or not parts.hostname or {"*", "@"} & set(parts.netloc):
        return False
    return text == f"https://{parts.netloc}"


def _parts(url: SecretStr) -> SplitResult | None:
    """None for what is no URL. The error would quote it."""
    try:
        return urlsplit(url.get_secret_value())
    except ValueError:
        return None


def _cover_everything(networks: Iterable[IPvAnyNetwork]) -> bool:
    """Whether some of them, taken together, are all of IPv4 or all of IPv6."""
    four = collapse_addresses(each for each in networks if isinstance(each, IPv4Network))
    six = collapse_addresses(each for each in networks if isinstance(each, IPv6Network))
    return any(each.prefixlen == 0 for each in (*four, *six))
