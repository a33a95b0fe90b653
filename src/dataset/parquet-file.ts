/**
 * Rows into a Parquet file, one row group in memory at a time: whoever adds rows waits until a full group is written.
 * hyparquet-writer encodes; the file is written here, as its own writer blocks the process and keeps what it wrote.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import type { SchemaElement } from 'hyparquet';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { storageError } from '../base/errors.ts';

export type ColumnType = 'int32' | 'int64' | 'float' | 'double' | 'string' | 'boolean' | 'bytes';

/** Values may be null, those in a list may not. Integers of either size are numbers here. */
export interface Column<Row> {
  readonly name: string;
  readonly type: ColumnType;
  readonly isList: boolean;
  readonly doc: string;
  readonly of: (row: Row) => unknown;
}

const ELEMENTS = {
  int32: { type: 'INT32' },
  int64: { type: 'INT64' },
  float: { type: 'FLOAT' },
  double: { type: 'DOUBLE' },
  string: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  boolean: { type: 'BOOLEAN' },
  bytes: { type: 'BYTE_ARRAY' },
} as const satisfies Record<ColumnType, Omit<SchemaElement, 'name'>>;

/** A row of full windows takes some 10 KB in memory, several times over while its group is encoded. */
export const GROUP_ROWS = 1_000;

export class ParquetFile<Row> {
  /** Rows added. */
  rows = 0;
  readonly path: string;
  private readonly columns: readonly Column<Row>[];
  private readonly handle: FileHandle;
  private readonly bytes = new ByteWriter(1024 * 1024);
  private readonly writer: ParquetWriter;
  private values: unknown[][];

  private constructor(path: string, columns: readonly Column<Row>[], handle: FileHandle) {
    this.path = path;
    this.columns = columns;
    this.handle = handle;
    this.values = columns.map(() => []);
    this.writer = new ParquetWriter({
      writer: this.bytes,
      schema: schemaOf(columns),
      codec: 'ZSTD',
      compressors: { ZSTD: (input) => zstdCompressSync(input) },
      createdBy: 'freshet',
    });
  }

  static async create<Row>(path: string, columns: readonly Column<Row>[]): Promise<ParquetFile<Row>> {
    return new ParquetFile(path, columns, await told(path, open(path, 'w')));
  }

  async add(row: Row): Promise<void> {
    for (let at = 0; at < this.columns.length; at += 1) this.values[at]!.push(this.columns[at]!.of(row));
    this.rows += 1;
    if (this.values[0]!.length === GROUP_ROWS) await this.writeGroup();
  }

  /** Writes what is left and the footer; the file is whole and on disk then. */
  async finish(): Promise<void> {
    if (this.values[0]!.length > 0) await this.writeGroup();
    await this.writer.finish();
    await this.drain();
    await told(this.path, this.handle.sync());
    await this.handle.close();
  }

  /** Gives the file up. */
  async abort(): Promise<void> {
    await this.handle.close();
  }

  private async writeGroup(): Promise<void> {
    const columnData = this.columns.map(({ name, type, isList }, at) => ({
      name,
      data: encoded(this.values[at]!, type, isList),
      statistics: !isList,
      offsetIndex: false,
    }));
    this.values = this.columns.map(() => []);
    await this.writer.write({ columnData, rowGroupSize: GROUP_ROWS });
    await this.drain();
  }

  private async drain(): Promise<void> {
    const { bytes } = this;
    await told(this.path, this.handle.writeFile(bytes.getBytes()));
    bytes.index = 0;
  }
}

/** As the writer takes them: 64-bit integers as BigInt. */
function encoded(values: unknown[], type: ColumnType, isList: boolean): unknown[] {
  if (type !== 'int64') return values;
  if (!isList) return values.map((value) => (value === null ? null : BigInt(value as number)));
  return values.map((list) => (list === null ? null : (list as number[]).map(BigInt)));
}

function schemaOf<Row>(columns: readonly Column<Row>[]): SchemaElement[] {
  const schema: SchemaElement[] = [{ name: 'root', num_children: columns.length }];
  for (const { name, type, isList } of columns) {
    if (!isList) schema.push({ name, repetition_type: 'OPTIONAL', ...ELEMENTS[type] });
    else {
      schema.push(
        { name, repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', repetition_type: 'REQUIRED', ...ELEMENTS[type] },
      );
    }
  }
  return schema;
}

async function told<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storageError(error, path) ?? error;
  }
}
