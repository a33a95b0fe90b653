/** Vectors as files give them, checked, and packed into the 8-bit integers of `item-embeddings`. */

/** Longest vector that is taken. */
export const MAX_DIMENSION = 8192;

export interface PackedVector {
  /** int8 [D]; a component is integer · scale. */
  readonly vector: Buffer;
  /** A 32-bit float. */
  readonly scale: number;
}

/**
 * The numbers of a vector [D], as 32-bit floats: a list, or in CSV a JSON array or numbers separated by spaces or
 * semicolons. Null where the row says that it has none; text says what is wrong.
 */
export function readVector(value: unknown): number[] | null | string {
  if (value === null || value === '') return null;
  if (value === undefined) return 'no vector';
  const list = typeof value === 'string' ? parseList(value) : value;
  if (!Array.isArray(list) && !ArrayBuffer.isView(list)) return 'the vector is no list of numbers';
  const components = Array.from(list as ArrayLike<unknown>);
  if (components.length === 0) return 'the vector has no components';
  if (components.length > MAX_DIMENSION) return `the vector has more than ${MAX_DIMENSION} components`;
  const numbers: number[] = [];
  for (const [index, component] of components.entries()) {
    const number = typeof component === 'number' ? Math.fround(component) : Number.NaN;
    if (!Number.isFinite(number)) return `component ${index} of the vector is not a finite 32-bit number`;
    numbers.push(number);
  }
  return numbers;
}

/** Rounds to 8 bits: scale = max |v| / 127, so that no component is off by more than half a step. Zeros have scale 1. */
export function quantize(numbers: readonly number[]): PackedVector {
  const largest = numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0);
  // The smallest floats round to a step of 0.
  const scale = Math.fround(largest / 127) || 1;
  const steps = numbers.map((number) => Math.max(-127, Math.min(127, Math.round(number / scale))));
  return { vector: Buffer.from(Int8Array.from(steps).buffer), scale };
}

/** Takes what is 8-bit already. Text says what is wrong. */
export function pack(numbers: readonly number[], scale: unknown): PackedVector | string {
  const step = Math.fround(typeof scale === 'string' ? Number(scale) : (scale as number));
  if (!Number.isFinite(step) || step <= 0) return 'the scale is not a finite number above 0';
  const isInt8 = numbers.every((number) => Number.isInteger(number) && number >= -128 && number <= 127);
  if (!isInt8) return 'a vector with a scale needs integers from -128 to 127';
  return { vector: Buffer.from(Int8Array.from(numbers).buffer), scale: step };
}

function parseList(text: string): unknown {
  if (!text.trimStart().startsWith('['))
    return text
      .trim()
      .split(/[\s;]+/)
      .map(toNumber);
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const toNumber = (text: string): number => (text === '' ? Number.NaN : Number(text));
