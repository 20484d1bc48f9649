"""The schemas of docs/schemas, and outputs held against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    """The schema of one output."""
    content: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def closed(node: Any) -> Any:
    """A schema that allows no key beside those it describes."""
    if isinstance(node, list):
        return [closed(x) for x in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "type" in node:
        found.setdefault("additionalProperties", False)
    return found


def check(name: str, content: Any) -> None:
    """Refuse what the schema does not allow, and keys that it does not describe."""
    jsonschema.Draft202012Validator(closed(schema(name))).validate(content)
