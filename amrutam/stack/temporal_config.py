"""The official Temporal server's and its web UI's configuration. Written as JSON, which is YAML too."""

from dataclasses import dataclass
from typing import Any

from amrutam.stack.ports import LOOPBACK, free_port

STORE, VISIBILITY = "temporal", "temporal_visibility"
# Fixed at the first start of a cluster; ample for the cores of one machine.
HISTORY_SHARDS = 4
SERVICES = ("frontend", "history", "matching", "worker")


@dataclass(frozen=True)
class InnerPorts:
    """Where the services of one server find each other: free ones, so that several stacks run on one machine."""

    grpc: dict[str, int]
    membership: dict[str, int]
    http: int

    @classmethod
    def free(cls, frontend: int) -> "InnerPorts":
        """Free ports for everything but the frontend."""
        return cls(
            grpc={service: free_port() for service in SERVICES} | {"frontend": frontend},
            membership={service: free_port() for service in SERVICES},
            http=free_port(),
        )


@dataclass(frozen=True)
class Store:
    """The PostgreSQL that the server keeps its data in."""

    port: int
    user: str
    password: str


def server(store: Store, ports: InnerPorts, dynamic_config: str) -> dict[str, Any]:
    """All four services in one process, bound to loopback only; plain text is fine there."""
    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {
                "default": {"sql": _sql(store, STORE, connections=20)},
                "visibility": {"sql": _sql(store, VISIBILITY, connections=10)},
            },
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK}},
        "services": {service: {"rpc": _rpc(service, ports)} for service in SERVICES},
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"{LOOPBACK}:{ports.grpc['frontend']}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "archival": {"history": {"state": "disabled"}, "visibility": {"state": "disabled"}},
        "dynamicConfigClient": {"filepath": dynamic_config, "pollInterval": "10s"},
    }


def dynamic_values() -> dict[str, int | bool]:
    """What the dynamic configuration says about a one-node server for a demo, for tests and for measuring."""
    return {
        # With more than one partition a quiet queue of a one-node server stalls for seconds at a time.
        "matching.numTaskqueueReadPartitions": 1,
        "matching.numTaskqueueWritePartitions": 1,
        # Tests of holds and reminders do not wait for days.
        "frontend.WorkflowTimeSkippingEnabled": True,
        # Entries. The default of 128,000 would fill gigabytes beside the other parts.
        "history.hostLevelCacheMaxSize": 20_000,
        "history.eventsHostLevelCacheMaxSizeBytes": 128 * 1024 * 1024,
    }


def dynamic() -> dict[str, Any]:
    """The same as the server's file wants it."""
    return {name: [{"value": value, "constraints": {}}] for name, value in dynamic_values().items()}


def web_ui(port: int, temporal_address: str, namespace: str) -> dict[str, Any]:
    """The web UI, on loopback, for its own origin only, and without a look at the vendor's news."""
    return {
        "temporalGrpcAddress": temporal_address,
        "host": LOOPBACK,
        "port": port,
        "enableUi": True,
        "defaultNamespace": namespace,
        "disableNewsFetch": True,
        "refreshInterval": "0s",
        # Plain http on loopback: its CSRF cookie could not be set otherwise.
        "cors": {"cookieInsecure": True, "allowOrigins": [f"http://{LOOPBACK}:{port}", f"http://localhost:{port}"]},
    }


def _sql(store: Store, database: str, connections: int) -> dict[str, Any]:
    return {
        "pluginName": "postgres12",
        "databaseName": database,
        "connectAddr": f"{LOOPBACK}:{store.port}",
        "connectProtocol": "tcp",
        "user": store.user,
        "password": store.password,
        "maxConns": connections,
        "maxIdleConns": connections,
        "maxConnLifetime": "1h",
    }


def _rpc(service: str, ports: InnerPorts) -> dict[str, Any]:
    rpc: dict[str, Any] = {
        "grpcPort": ports.grpc[service],
        "membershipPort": ports.membership[service],
        "bindOnLocalHost": True,
    }
    return {**rpc, "httpPort": ports.http} if service == "frontend" else rpc
