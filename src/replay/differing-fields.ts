/** In which fields two records of one schema differ. */

/** Long lists of differences tell no more than their beginning. */
const MAX_FIELDS = 16;

/** Paths as `sequences[0].itemIds`: of a list, the list's own path, unless its items are records. */
export function differingFields(left: unknown, right: unknown): string[] {
  const fields: string[] = [];
  collect(left, right, '', fields);
  return fields;
}

function collect(left: unknown, right: unknown, path: string, fields: string[]): void {
  if (fields.length >= MAX_FIELDS || Object.is(left, right)) return;
  if (Array.isArray(left) && Array.isArray(right)) {
    const areRecords = left.length === right.length && left.every(isRecord) && right.every(isRecord);
    if (areRecords) left.forEach((each, index) => collect(each, right[index], `${path}[${index}]`, fields));
    else if (left.length !== right.length || left.some((each, index) => !Object.is(each, right[index])))
      fields.push(path);
  } else if (isRecord(left) && isRecord(right)) {
    for (const name of new Set([...Object.keys(left), ...Object.keys(right)])) {
      collect(left[name], right[name], path === '' ? name : `${path}.${name}`, fields);
    }
  } else fields.push(path);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
