/** The schema of `ranking-features` in three parts: Avro bodies of records in a row are that of their fields together. */
import avsc, { type Type } from 'avsc';
import { invariant } from '../base/errors.ts';
import { shippedSchema } from '../../topics/index.ts';

const HEADER_FIELDS = ['userId', 'hasRealtime', 'hasLongTerm'];

export interface FieldTypes {
  readonly header: Type;
  readonly realtime: Type;
  readonly longTerm: Type;
}

let made: FieldTypes | undefined;

/** Made once a process. */
export const fieldTypes = (): FieldTypes => (made ??= makeFieldTypes());

function makeFieldTypes(): FieldTypes {
  const schema = shippedSchema('ranking-features-value');
  const names = schema.fields.map(({ name }) => name);
  const expected = [...HEADER_FIELDS, 'realtime', 'longTerm'];
  invariant(names.join() === expected.join(), `ranking-features has the fields ${names.join()}`);
  const [realtime, longTerm] = schema.fields.slice(HEADER_FIELDS.length);
  return {
    header: avsc.Type.forSchema({ ...schema, name: 'Header', fields: schema.fields.slice(0, HEADER_FIELDS.length) }),
    realtime: avsc.Type.forSchema(realtime!.type),
    longTerm: avsc.Type.forSchema(longTerm!.type),
  };
}
