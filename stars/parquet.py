"""Parquet with a fixed schema and page checksums, verified on read."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stars.outcome import StoreError


def to_bytes(table: pa.Table) -> bytes:
    """The table as the bytes of a Parquet file with page checksums."""
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def read_all(paths: list[Path], schema: pa.Schema) -> pa.Table:
    """The rows of all files, in their order.

    Raises:
        StoreError: a damaged file, or one with other columns; names it.
    """
    tables = []
    for path in paths:
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as problem:
            raise StoreError(f"{path}: damaged, or not a Parquet file ({problem})") from problem
        if not table.schema.equals(schema):
            different = sorted({f.name for f in table.schema} ^ {f.name for f in schema}) or "types"
            raise StoreError(f"{path}: not written by this version; columns that differ: {different}")
        tables.append(table)
    return pa.concat_tables(tables) if tables else schema.empty_table()
