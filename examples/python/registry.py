"""Schemas over the registry's HTTP interface, and values in Confluent's framing: byte 0, schema id, Avro body."""

import io
import json
import struct
import urllib.parse
import urllib.request

import fastavro

PREFIX = struct.Struct(">bI")
TIMEOUT_S = 10


class Registry:
    """Each schema is fetched once: an id never changes its meaning."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.schemas = {}

    def newest(self, subject):
        """Id and parsed schema of the newest version of a subject."""
        found = self._get(f"/subjects/{urllib.parse.quote(subject, safe='')}/versions/latest")
        return found["id"], self._parsed(found["id"], found["schema"])

    def encode(self, subject_schema, record):
        schema_id, schema = subject_schema
        body = io.BytesIO()
        body.write(PREFIX.pack(0, schema_id))
        fastavro.schemaless_writer(body, schema, record)
        return body.getvalue()

    def decode(self, value):
        """The record, by the schema that it was written with."""
        magic, schema_id = PREFIX.unpack_from(value)
        if magic != 0:
            raise ValueError(f"the value starts with byte {magic}, not with that of a schema id")
        schema = self.schemas.get(schema_id)
        if schema is None:
            schema = self._parsed(schema_id, self._get(f"/schemas/ids/{schema_id}")["schema"])
        return fastavro.schemaless_reader(io.BytesIO(value[PREFIX.size :]), schema)

    def _parsed(self, schema_id, text):
        # Without their logical types times stay milliseconds since 1970 and are not made into datetimes.
        schema = json.loads(text, object_hook=lambda part: {k: v for k, v in part.items() if k != "logicalType"})
        return self.schemas.setdefault(schema_id, fastavro.parse_schema(schema))

    def _get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)
