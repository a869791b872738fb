"""Histories as files that a person can read: payloads opened, and written as the JSON that they hold."""

import base64
import json
from pathlib import Path
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.converter import PayloadCodec

FOLDER = Path(__file__).parent / "histories"
# What differs from run to run and from machine to machine, and is of no use to a replay.
_OF_THE_MOMENT = frozenset({"identity", "stackTrace", "stack_trace", "taskId"})


async def write(name: str, history: WorkflowHistory, codec: PayloadCodec | None) -> None:
    """Store the history under a name, with every payload opened."""
    opened = await _opened(history.to_json_dict(), codec)
    text = json.dumps({"workflowId": history.workflow_id, **opened}, indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def read(name: str) -> WorkflowHistory:
    """The history of that name."""
    stored = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return WorkflowHistory.from_json(stored.pop("workflowId"), _closed(stored))


async def _opened(node: Any, codec: PayloadCodec | None) -> Any:
    if isinstance(node, list):
        return [await _opened(each, codec) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    fields = cast("dict[str, Any]", node)
    if "encoding" in fields.get("metadata", {}):
        return await _readable(fields, codec)
    return {name: await _opened(each, codec) for name, each in fields.items() if name not in _OF_THE_MOMENT}


async def _readable(fields: dict[str, Any], codec: PayloadCodec | None) -> dict[str, Any]:
    """A payload as `{"metadata": text, "json": value}`; one that holds no JSON stays as it is."""
    payload = ParseDict(fields, Payload())
    if codec:
        [payload] = await codec.decode([payload])
    if payload.metadata["encoding"] != b"json/plain":
        return MessageToDict(payload)
    metadata = {name: value.decode() for name, value in payload.metadata.items()}
    value = json.loads(payload.data)
    if isinstance(value, dict):
        value = {name: each for name, each in cast("dict[str, Any]", value).items() if name not in _OF_THE_MOMENT}
    return {"metadata": metadata, "json": value}


def _closed(node: Any) -> Any:
    """The same as protobuf's JSON has it."""
    if isinstance(node, list):
        return [_closed(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    fields = cast("dict[str, Any]", node)
    if "metadata" in fields and "json" in fields:
        metadata = {name: _base64(value) for name, value in fields["metadata"].items()}
        return {"metadata": metadata, "data": _base64(json.dumps(fields["json"]))}
    return {name: _closed(each) for name, each in fields.items()}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
