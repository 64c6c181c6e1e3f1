"""Parquet with a fixed schema and page checksums, verified on read."""

import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stars.outcome import StoreError

LATER: Mapping[bytes, bytes] = {b"stars": b"later"}
"""Metadata of a column that files of older versions lack; it is null there."""
_MOST_THREADS = 8


def to_bytes(table: pa.Table) -> bytes:
    """The table as the bytes of a Parquet file with page checksums."""
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def read_all(paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
    """The rows of all files, in their order; a column that is marked `LATER` is null where a file lacks it.

    Raises:
        StoreError: a damaged file, or one with other columns; names it.
    """
    if not paths:
        return schema.empty_table()
    # A sweep is thousands of small files: what counts is the time that each takes by itself.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1, len(paths))) as pool:
        return pa.concat_tables(list(pool.map(partial(_read, schema=schema), paths)))


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        content = pa.BufferReader(path.read_bytes())
        # Four times as fast for a small file as `pq.read_table`, which makes a data set of it first.
        table = pq.ParquetFile(content, page_checksum_verification=True).read(use_threads=False)
    except (OSError, pa.ArrowException) as problem:
        raise StoreError(f"{path}: damaged, or not a Parquet file ({problem})") from problem
    table = _completed(table, schema)
    if not table.schema.equals(schema):
        different = sorted({f.name for f in table.schema} ^ {f.name for f in schema}) or "types"
        raise StoreError(f"{path}: not written by this version; columns that differ: {different}")
    return table


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the later columns that it lacks; all others are left to be compared."""
    lacking = [column for column in schema if column.metadata == LATER and column.name not in table.schema.names]
    for column in lacking:
        table = table.add_column(schema.get_field_index(column.name), column, pa.nulls(len(table), column.type))
    return table
