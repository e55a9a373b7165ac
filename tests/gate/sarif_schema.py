"""The part of SARIF 2.1.0's schema that our reports use, closed: nothing else may stand there.

Written after the standard (OASIS SARIF 2.1.0, sections 3.13 to 3.58) and GitHub's table of supported properties. The
standard's own schema is not in a package that tests could depend on; what it says of these objects is said here.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_MESSAGE = _object(("text",), text=_TEXT)
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_RULE = _object(
    ("id", "shortDescription", "fullDescription", "help"),
    id=_TEXT,
    name=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_MESSAGE,
    defaultConfiguration=_object(("level",), level=_LEVEL),
    properties={
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": _TEXT, "uniqueItems": True},
            "security-severity": {"type": "string", "pattern": r"^\d+\.\d$"},
        },
    },
)
_LOCATION = _object(
    ("physicalLocation",),
    physicalLocation=_object(
        ("artifactLocation", "region"),
        artifactLocation=_object(
            ("uri",), uri={"type": "string", "format": "uri-reference", "pattern": r"^[!-~]+$"}, uriBaseId=_TEXT
        ),
        region=_object(
            ("startLine",),
            startLine={"type": "integer", "minimum": 1},
            startColumn={"type": "integer", "minimum": 1},
        ),
    ),
)
_RESULT = _object(
    ("ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"),
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=_LEVEL,
    message=_MESSAGE,
    locations={"type": "array", "items": _LOCATION, "minItems": 1},
    partialFingerprints={"type": "object", "additionalProperties": _TEXT, "minProperties": 1},
    suppressions={
        "type": "array",
        "items": _object(("kind",), kind={"enum": ["inSource", "external"]}, justification=_TEXT),
    },
)
SARIF = _object(
    ("$schema", "version", "runs"),
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs={
        "type": "array",
        "minItems": 1,
        "items": _object(
            ("tool", "results"),
            tool=_object(
                ("driver",),
                driver=_object(
                    ("name", "rules"),
                    name=_TEXT,
                    semanticVersion=_TEXT,
                    rules={"type": "array", "items": _RULE, "uniqueItems": True},
                ),
            ),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            invocations={
                "type": "array",
                "items": _object(
                    ("executionSuccessful",), executionSuccessful={"type": "boolean"}, exitCode={"type": "integer"}
                ),
            },
            results={"type": "array", "items": _RESULT},
        ),
    },
)
