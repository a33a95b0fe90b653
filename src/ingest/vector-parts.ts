/**
 * Several named vectors an item, e.g. of its image and of its text: they stand in columns of their own and become one
 * vector, part behind part, so that one version, one hash and one activation hold for all of them.
 */
import { readVector } from './vector-value.ts';

export interface VectorPart {
  readonly column: string;
  /** Null: the whole vector is in this column, of whatever length. */
  readonly dimension: number | null;
}

const PART = '[^+:]+:[1-9]\\d{0,3}';
const PARTS = new RegExp(`^${PART}(?:\\+${PART})+$`);

/** `image:32+text:16` are two parts; anything else is the name of one column. */
export function vectorParts(column: string): readonly VectorPart[] {
  if (!PARTS.test(column)) return [{ column, dimension: null }];
  return column.split('+').map((part) => {
    const [name, dimension] = part.split(':') as [string, string];
    return { column: name, dimension: Number(dimension) };
  });
}

/**
 * The numbers of all parts, in their order. A part that an item does not have is zeros: it adds nothing to a product. Null
 * where the row says that it has none of them; text says what is wrong.
 */
export function readParts(values: readonly unknown[], parts: readonly VectorPart[]): number[] | null | string {
  if (parts.length === 1) return readVector(values[0]);
  if (values.every((value) => value === undefined)) return 'no vector';
  const whole: number[] = [];
  let found = 0;
  for (const [index, { column, dimension }] of parts.entries()) {
    const numbers = readVector(values[index] ?? null);
    if (typeof numbers === 'string') return `${column}: ${numbers}`;
    if (numbers !== null && numbers.length !== dimension) {
      return `${column}: the vector has ${numbers.length} components, not ${dimension}`;
    }
    if (numbers !== null) found += 1;
    whole.push(...(numbers ?? new Array<number>(dimension!).fill(0)));
  }
  return found === 0 ? null : whole;
}
