/**
 * The registry of the embedded run: the table in the data folder is all there is to it. Nobody else registers anything,
 * so a schema that is not in it is unknown for good.
 */
import { randomUUID } from 'node:crypto';
import type { Subject } from '../../topics/index.ts';
import { SUBJECTS } from '../../topics/index.ts';
import { checkCompatibility } from './compatibility.ts';
import { readSchemaTable, schemaTablePath, writeSchemaTable } from './schema-table.ts';
import type { SchemaEntry } from './schema-table.ts';

export interface EmbeddedSchemas {
  /** In order of the ids. */
  readonly table: readonly SchemaEntry[];
  readonly ids: ReadonlyMap<Subject, number>;
}

/** With each given schema in the table, which is durable by then. Throws SCHEMA_INCOMPATIBLE, SCHEMA_TABLE_INVALID. */
export async function openEmbeddedSchemas(
  dataDir: string | null,
  schemas: Readonly<Record<Subject, string>>,
): Promise<EmbeddedSchemas> {
  const file = dataDir === null ? null : schemaTablePath(dataDir);
  const stored = file === null ? [] : await readSchemaTable(file);
  const table = [...stored];
  const ids = new Map<Subject, number>();
  for (const subject of SUBJECTS) {
    const schema = schemas[subject];
    const versions = stored.filter((entry) => entry.subject === subject);
    checkCompatibility(subject, schema, versions);
    let entry = versions.find((version) => version.schema === schema);
    if (entry === undefined) table.push((entry = { id: table.length + 1, guid: randomUUID(), subject, schema }));
    ids.set(subject, entry.id);
  }
  if (file !== null && table.length > stored.length) await writeSchemaTable(file, table);
  return { table, ids };
}
