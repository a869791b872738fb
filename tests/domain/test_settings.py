"""Settings: what each mode refuses, all of it at once, and that no secret is ever shown."""

import json
import pickle
import traceback
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from amrutam import preflight
from amrutam.cli import main
from amrutam.crypto import Keyring, KeyringError
from amrutam.domain.common import Role
from amrutam.settings import Settings, SettingsError

HIDDEN = "hunter2-in-a-url"
PRODUCTION: dict[str, Any] = {
    "amrutam_mode": "production",
    "amrutam_keyring": Path("/run/keyring.json"),
    "amrutam_demo_expose": False,
    "host": "0.0.0.0",  # noqa: S104 - production listens where it is told to
    "public_url": "https://api.amrutam.test",
    "cors_origins": ["https://app.amrutam.test"],
    "database_url": f"postgresql://amrutam_app:{HIDDEN}@db/amrutam?sslmode=verify-full",
    "migration_database_url": f"postgresql://amrutam_owner:{HIDDEN}@db/amrutam?sslmode=verify-full",
    "redis_url": f"rediss://:{HIDDEN}@redis:6379/0",
    "temporal_tls_cert": Path("/run/client.pem"),
    "temporal_tls_key": Path("/run/client.key"),
    "smtp_url": f"smtps://amrutam:{HIDDEN}@mail",
    "mail_folder": None,
    "audit_checkpoint_folder": Path("/mnt/checkpoints"),
    "documents_url": "s3://amrutam/documents",
}
DEMO: dict[str, Any] = PRODUCTION | {
    "amrutam_mode": "demo",
    "host": "127.0.0.1",
    "public_url": "http://127.0.0.1:8000",
    "cors_origins": ["*"],
    "require_mfa_roles": None,
    "database_url": f"postgresql://amrutam_app:{HIDDEN}@127.0.0.1/amrutam",
    "redis_url": f"redis://:{HIDDEN}@127.0.0.1:6379/0",
    "temporal_tls_cert": None,
    "temporal_tls_key": None,
    "smtp_url": None,
    "audit_checkpoint_folder": None,
    "mail_folder": Path("/tmp/mail"),  # noqa: S108 - nothing is written there
}
REFUSED_IN_PRODUCTION: list[tuple[str, dict[str, Any]]] = [
    ("DATABASE_URL", {"database_url": "postgresql://amrutam_app@db/amrutam"}),
    ("DATABASE_URL", {"database_url": "postgresql://amrutam_app@db/amrutam?sslmode=require"}),
    ("DATABASE_URL", {"database_url": "postgresql://amrutam_app@db/amrutam?sslmode=verify-full&sslmode=disable"}),
    ("DATABASE_URL", {"database_url": "postgresql://amrutam_app@db/sslmode=verify-full"}),
    ("REDIS_URL", {"redis_url": "redis://redis:6379/0"}),
    ("TEMPORAL_TLS_CERT", {"temporal_tls_cert": None}),
    ("TEMPORAL_TLS_CERT", {"temporal_tls_key": None}),
    ("SMTP_URL", {"smtp_url": None}),
    ("SMTP_URL", {"smtp_url": "smtp://mail"}),
    ("SMTP_URL", {"smtp_url": "smtp://mail?xstarttls=required"}),
    ("SMTP_URL", {"smtp_url": "smtp://mail?starttls=required-not"}),
    ("SMTP_URL", {"smtp_url": "http://mail?starttls=required"}),
    ("SMTP_URL", {"smtp_url": "smtps://"}),
    ("SMTP_URL", {"smtp_url": "smtps://[mail"}),
    ("MIGRATION_DATABASE_URL", {"migration_database_url": "postgresql://amrutam_owner@db/amrutam"}),
    ("MIGRATION_DATABASE_URL", {"migration_database_url": "postgresql://amrutam_owner@db/amrutam?sslmode=require"}),
    ("PASSWORD_MEMORY_KIB", {"password_memory_kib": 19 * 1024 - 1, "password_passes": 10}),
    ("PASSWORD_PASSES", {"password_memory_kib": 64 * 1024, "password_passes": 1}),
    ("MAIL_FOLDER", {"mail_folder": Path("/var/mail")}),
    ("PAYMENT_SANDBOX_URL", {"payment_sandbox_url": "http://127.0.0.1:8010"}),
    ("PAYMENT_SANDBOX_URL", {"payment_sandbox_key": HIDDEN}),
    ("PAYMENT_SANDBOX_URL", {"payment_sandbox_webhook_secret": HIDDEN}),
    ("AUDIT_CHECKPOINT_FOLDER", {"audit_checkpoint_folder": None}),
    ("DOCUMENTS_URL", {"documents_url": None}),
    ("DOCUMENTS_URL", {"documents_url": "https://bucket.amrutam.test"}),
    ("DOCUMENTS_URL", {"documents_url": "s3:///documents"}),
    ("DOCUMENTS_URL", {"documents_url": "file://documents"}),
    ("DOCUMENTS_S3_ENDPOINT", {"documents_s3_endpoint": "http://store.amrutam.test"}),
    ("DOCUMENTS_S3_ACCESS_KEY", {"documents_s3_access_key": "without its secret"}),
    ("CORS_ORIGINS", {"cors_origins": ["https://app.amrutam.test", "*"]}),
    ("CORS_ORIGINS", {"cors_origins": ["null"]}),
    ("CORS_ORIGINS", {"cors_origins": ["http://app.amrutam.test"]}),
    ("CORS_ORIGINS", {"cors_origins": ["https://"]}),
    ("CORS_ORIGINS", {"cors_origins": ["https://*.amrutam.test"]}),
    ("CORS_ORIGINS", {"cors_origins": ["https://app.amrutam.test/"]}),
    ("CORS_ORIGINS", {"cors_origins": ["https://[app"]}),
    ("TRUSTED_PROXIES", {"trusted_proxies": ["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"]}),
    ("TRUSTED_PROXIES", {"trusted_proxies": ["10.0.0.0/8", "8000::/1", "::/2", "4000::/2"]}),
    ("TRUSTED_PROXIES", {"trusted_proxies": ["10.0.0.0/8", "0.0.0.0/0"]}),
    ("TRUSTED_PROXIES", {"trusted_proxies": ["::/0"]}),
    ("RATE_LIMIT_FACTOR", {"rate_limit_factor": 1000}),
    ("REQUIRE_MFA_ROLES", {"require_mfa_roles": []}),
    ("REQUIRE_MFA_ROLES", {"require_mfa_roles": ["doctor", "admin"]}),
    ("PUBLIC_URL", {"public_url": "http://api.amrutam.test"}),
]


def _settings(given: dict[str, Any], **changes: Any) -> Settings:
    return Settings(**{**given, **changes})


@pytest.mark.parametrize("given", [PRODUCTION, DEMO], ids=["production", "demo"])
def test_what_suits_a_mode_has_no_fault(given: dict[str, Any]) -> None:
    assert _settings(given).faults() == []


def test_production_is_the_mode_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMRUTAM_MODE", raising=False)
    given = {name: value for name, value in DEMO.items() if name != "amrutam_mode"}
    assert not Settings(**given).demo


@pytest.mark.parametrize(("variable", "change"), REFUSED_IN_PRODUCTION)
def test_production_names_what_it_refuses(variable: str, change: dict[str, Any]) -> None:
    [fault] = _settings(PRODUCTION, **change).faults()
    assert fault.startswith(variable)


def test_production_names_every_fault_at_once() -> None:
    wrong: dict[str, Any] = {
        "rate_limit_factor": 1000,
        "trusted_proxies": ["::/0"],
        "require_mfa_roles": [],
        "migration_database_url": DEMO["database_url"],
        "password_memory_kib": 8,
        "password_passes": 1,
        "documents_url": None,
        "documents_s3_endpoint": "http://store.amrutam.test",
        "documents_s3_access_key": "without its secret",
        "payment_sandbox_key": HIDDEN,
    }
    faults = _settings(DEMO, amrutam_mode="production", **wrong).faults()
    named = {fault.partition(":")[0].partition(",")[0] for fault in faults}
    assert named == {variable for variable, _ in REFUSED_IN_PRODUCTION}


def test_what_is_near_to_a_fault_suits_production() -> None:
    near: dict[str, Any] = {
        "trusted_proxies": ["0.0.0.0/1", "10.0.0.0/8", "::/1"],
        "cors_origins": ["https://app.amrutam.test:8443", "https://127.0.0.1"],
        "migration_database_url": None,
        "access_token_seconds": 3600,
    }
    assert _settings(PRODUCTION, **near).faults() == []


def test_an_access_token_lives_for_an_hour_at_most() -> None:
    with pytest.raises(ValidationError, match="access_token_seconds"):
        _settings(DEMO, access_token_seconds=3601)


def test_mail_over_starttls_suits_production() -> None:
    assert _settings(PRODUCTION, smtp_url="smtp://mail:587?starttls=required").faults() == []


def test_documents_need_a_place_in_a_demo_too_and_may_go_to_a_store_on_the_same_machine() -> None:
    [fault] = _settings(DEMO, documents_url=None).faults()
    assert fault.startswith("DOCUMENTS_URL")
    assert _settings(DEMO, documents_s3_endpoint="http://127.0.0.1:9000").faults() == []
    assert _settings(PRODUCTION, documents_url="file:///mnt/documents").faults() == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::"])  # noqa: S104 - what is refused
def test_a_demo_is_not_shown_beyond_its_machine_unless_that_is_meant(host: str) -> None:
    [fault] = _settings(DEMO, host=host).faults()
    assert fault.startswith("HOST")
    assert _settings(DEMO, host=host, amrutam_demo_expose=True).faults() == []


def test_a_demo_needs_somewhere_to_put_its_mails() -> None:
    [fault] = _settings(DEMO, mail_folder=None).faults()
    assert fault.startswith("MAIL_FOLDER")
    assert _settings(DEMO, mail_folder=None, smtp_url="smtp://127.0.0.1:1025").faults() == []


def test_a_demo_knows_all_of_its_payment_sandbox_or_nothing() -> None:
    told = {"payment_sandbox_url": "http://127.0.0.1:8010", "payment_sandbox_key": HIDDEN}
    [fault] = _settings(DEMO, **told).faults()
    assert fault.startswith("PAYMENT_SANDBOX_URL")
    assert _settings(DEMO, **told, payment_sandbox_webhook_secret=HIDDEN).faults() == []


def test_origins_are_a_list_with_commas_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", " https://a.test, https://b.test,, ")
    given = {name: value for name, value in DEMO.items() if name != "cors_origins"}
    assert Settings(**given).cors_origins == ["https://a.test", "https://b.test"]


def test_roles_that_need_a_second_factor_can_be_named_in_a_demo_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: value for name, value in DEMO.items() if name != "require_mfa_roles"}
    assert Settings(**given).mfa_roles == frozenset()
    assert _settings(PRODUCTION).mfa_roles == {Role.DOCTOR, Role.SUPPORT, Role.ADMIN}
    monkeypatch.setenv("REQUIRE_MFA_ROLES", "doctor, admin")
    assert Settings(**given).mfa_roles == {Role.DOCTOR, Role.ADMIN}


def test_settings_never_show_a_secret() -> None:
    settings = _settings(PRODUCTION)
    shown = [repr(settings), str(settings), f"{settings.model_dump()}", settings.model_dump_json()]
    assert HIDDEN.encode() in pickle.dumps(settings)  # it is there, and would be seen
    assert not any(HIDDEN in text for text in shown)


def test_an_error_about_settings_shows_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AMRUTAM_KEYRING": "/nowhere", "DATABASE_URL": f"postgresql://a:{HIDDEN}@db/x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORT", f"{HIDDEN}")
    monkeypatch.setenv("AMRUTAM_MODE", "staging")
    with pytest.raises(SettingsError) as refused:
        preflight.load()
    assert HIDDEN not in "".join(traceback.format_exception(refused.value))
    assert {line.partition(":")[0] for line in str(refused.value).splitlines()} == {"PORT", "AMRUTAM_MODE"}
    with pytest.raises(ValidationError) as raw:
        _settings(PRODUCTION, database_url=[HIDDEN], port=HIDDEN)
    assert HIDDEN not in str(raw.value)


def test_what_is_missing_and_what_production_refuses_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    given = DEMO | {"amrutam_mode": "production", "port": HIDDEN, "cors_origins": ["null"]}
    _tell(monkeypatch, given)
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("AMRUTAM_KEYRING")
    with pytest.raises(SettingsError) as refused:
        preflight.load()
    lines = str(refused.value).splitlines()
    named = [line.partition(":")[0].partition(",")[0] for line in lines]
    expected = {"DATABASE_URL", "AMRUTAM_KEYRING", "PORT", "REDIS_URL", "MAIL_FOLDER", "CORS_ORIGINS", "PUBLIC_URL"}
    assert expected <= set(named)
    assert len(named) == len(set(named))  # what is missing is not refused as well
    assert HIDDEN not in str(refused.value)


@pytest.mark.parametrize("mode", [None, "production", "Demo"])
def test_the_schemas_owner_is_told_nothing_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str | None
) -> None:
    monkeypatch.setenv("MIGRATION_DATABASE_URL", f"postgresql://amrutam_owner:{HIDDEN}@127.0.0.1:1/amrutam")
    if mode:
        monkeypatch.setenv("AMRUTAM_MODE", mode)
    else:
        monkeypatch.delenv("AMRUTAM_MODE", raising=False)
    assert main(["migrate"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("MIGRATION_DATABASE_URL: needs ?sslmode=verify-full")
    assert HIDDEN not in said


def test_faults_of_settings_and_keyring_are_named_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _tell(monkeypatch, DEMO | {"amrutam_mode": "production", "amrutam_keyring": tmp_path / "none.json"})
    with pytest.raises(SettingsError) as refused:
        preflight.load()
    lines = str(refused.value).splitlines()
    assert any(line.startswith("AMRUTAM_KEYRING") and "keys init" in line for line in lines)
    assert any(line.startswith("MAIL_FOLDER") for line in lines)


@pytest.mark.parametrize(("mode", "born", "suits"), [("production", "demo", False), ("demo", "demo", True)])
def test_production_refuses_keys_that_were_made_for_a_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, born: Any, suits: bool
) -> None:
    file = tmp_path / "keyring.json"
    file.write_text(Keyring.generate(born))
    _tell(monkeypatch, (DEMO if mode == "demo" else PRODUCTION) | {"amrutam_keyring": file})
    if suits:
        assert preflight.load()[1].born == born
    else:
        with pytest.raises(SettingsError, match="was made for demo"):
            preflight.load()


def test_a_keyring_never_shows_a_key(tmp_path: Path) -> None:
    text = Keyring.generate("production")
    keys = _keys(text)
    keyring = Keyring.model_validate_json(text)
    shown = " ".join([repr(keyring), str(keyring), f"{keyring.model_dump()}", keyring.model_dump_json()])
    assert len(keys) == 4
    assert not any(key in shown for key in keys)
    file = tmp_path / "keyring.json"
    file.write_text(text.replace('"current": "master-1"', '"current": "master-2"').replace('"secret"', '"secrets"'))
    with pytest.raises(KeyringError) as refused:
        Keyring.load(file)
    assert not any(key in "".join(traceback.format_exception(refused.value)) for key in keys)


@pytest.mark.parametrize("secret", ["", "c2hvcnQ=", "not base64 at all"])
def test_a_keyring_whose_secret_is_no_key_is_refused(tmp_path: Path, secret: str) -> None:
    """An empty one would sign links that anybody can make."""
    file = tmp_path / "keyring.json"
    file.write_text(json.dumps(json.loads(Keyring.generate("demo")) | {"secret": secret}))
    with pytest.raises(KeyringError, match="secret"):
        Keyring.load(file)


def _keys(text: str) -> list[str]:
    ring: dict[str, Any] = json.loads(text)
    return [ring["secret"], *(key for use in ("master", "codec", "signing") for key in ring[use]["keys"].values())]


def _tell(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    """The same by the environment, where nothing else is set."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in given.items():
        if value not in (None, False):
            parts = cast("list[str]", value) if isinstance(value, list) else [str(value)]
            monkeypatch.setenv(name.upper(), ",".join(parts))
