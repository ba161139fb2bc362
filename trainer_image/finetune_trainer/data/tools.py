"""Tool schemas and tool calls as rows carry them, in the form that chat templates take."""

import json
from typing import Any

from finetune_trainer.data.conversation import check_text
from finetune_trainer.data.faults import Fault, InvalidRow, kind_of


def tool_schemas(value: object, column: str) -> list[dict[str, Any]] | None:
    """The functions in a `tools` column: a list, or the JSON text of one; None where empty.

    Each is {"type": "function", "function": {"name", ...}}; one that is only the inner object
    is wrapped. Raises InvalidRow.
    """
    tools = _from_json(value, column) if isinstance(value, str) and value.strip() else value
    if tools is None or tools == "" or tools == []:
        return None
    if not isinstance(tools, list):
        raise InvalidRow(Fault.TOOLS, f"must be a list of tools, is {kind_of(tools)}", column)
    return [_schema(tool, column) for tool in tools]


def _schema(tool: object, column: str) -> dict[str, Any]:
    wrapped = isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    function = tool["function"] if isinstance(tool, dict) and wrapped else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRow(Fault.TOOLS, "a tool is an object with a name", column)
    check_text(json.dumps(function, ensure_ascii=False), column)
    return {"type": "function", "function": function}


def tool_calls(value: object, where: str) -> list[dict[str, Any]]:
    """Calls in a turn: OpenAI's tool_calls, or ShareGPT's function_call as JSON text.

    Arguments become an object, since templates write them as JSON. Raises InvalidRow.
    """
    calls = _from_json(value, where) if isinstance(value, str) else value
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list) or not calls:
        raise InvalidRow(Fault.TOOLS, f"must hold tool calls, holds {kind_of(calls)}", where)
    return [_call(call, where) for call in calls]


def _call(call: object, where: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise InvalidRow(Fault.TOOLS, f"a tool call is an object, not {kind_of(call)}", where)
    function = call.get("function", call)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRow(Fault.TOOLS, "a tool call names its function", where)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _from_json(arguments or "{}", where)
    if not isinstance(arguments, dict):
        raise InvalidRow(
            Fault.TOOLS, f"arguments must be an object, are {kind_of(arguments)}", where
        )
    check_text(json.dumps(call, ensure_ascii=False), where)
    made = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {**made, "id": call["id"]} if isinstance(call.get("id"), str) else made


def _from_json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRow(Fault.TOOLS, "the text is not JSON", where) from error
