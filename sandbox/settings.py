"""What the sandbox is told from outside, by environment variables that begin with `SANDBOX_`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

HOST = "127.0.0.1"
PREFIX = "SANDBOX_"
_WEB_ADDRESS = r"^https?://[!-~]+$"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


# Scheme, host and port. It stands in a header, so nothing else may.
Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")]


class Settings(BaseModel):
    """One gateway's settings. Field names in upper case, after the prefix, are the variables."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    port: int = Field(8010, ge=1, le=65535, description="on 127.0.0.1, and nowhere else")
    folder: Path = Field(description="where its database lies")
    key: SecretStr = Field(min_length=16, description="the bearer token of its API")
    webhook_secret: SecretStr = Field(min_length=16, description="signs what it tells")
    webhook_url: str = Field(pattern=_WEB_ADDRESS, description="whom it tells")
    return_origin: Annotated[list[Origin], BeforeValidator(_split)] = Field(
        default_factory=list[str], description="origins that it sends people back to, comma-separated"
    )
    refund_seconds: float = Field(1, ge=0, le=3600, description="how long a refund is on its way; 0: done at once")

    @property
    def url(self) -> str:
        """Of the gateway, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raises pydantic's ValidationError, which names every fault and no value."""
        names = {name: f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        return cls.model_validate({name: environment[each] for name, each in names.items() if environment.get(each)})
