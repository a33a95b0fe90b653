/**
 * FULL_TRANSITIVE compatibility: every version of a subject reads what every other wrote. A registry over HTTP checks
 * this itself; the embedded run checks here.
 */
import type { Schema, Type } from 'avsc';
import { FreshetError } from '../base/errors.ts';
import { boundedType } from './bounded-type.ts';

export interface SchemaVersion {
  readonly id: number;
  /** The schema as JSON. */
  readonly schema: string;
}

/** Throws SCHEMA_INCOMPATIBLE unless `schema` and each of `earlier` read each other. */
export function checkCompatibility(subject: string, schema: string, earlier: readonly SchemaVersion[]): void {
  const type = boundedType(JSON.parse(schema) as Schema);
  for (const version of earlier) {
    const other = boundedType(JSON.parse(version.schema) as Schema);
    const problem =
      whyUnreadable(type, other, 'the new schema cannot read the earlier one') ??
      whyUnreadable(other, type, 'the earlier schema cannot read the new one');
    if (problem !== undefined) {
      throw new FreshetError('SCHEMA_INCOMPATIBLE', `subject ${subject}, schema id ${version.id}: ${problem}`);
    }
  }
}

function whyUnreadable(reader: Type, writer: Type, meaning: string): string | undefined {
  try {
    reader.createResolver(writer);
    return undefined;
  } catch (error) {
    return `${meaning}: ${(error as Error).message}`;
  }
}
