/** The schema of each subject as it is shipped in topics/schemas, as JSON. */
import { shippedSchema, SUBJECTS } from '../../topics/index.ts';
import type { Subject } from '../../topics/index.ts';

export const shippedSchemas = (): Record<Subject, string> =>
  Object.fromEntries(SUBJECTS.map((subject) => [subject, JSON.stringify(shippedSchema(subject))])) as Record<
    Subject,
    string
  >;
