/** Parsers of option values; what does not parse is wrong use. */
import { InvalidArgumentError } from 'commander';
import { parseAgeMs } from '../base/age.ts';

export const integerOption =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`must be an integer from ${least}.`);
    return value;
  };

/** 0 to 1. */
export function shareOption(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('must be a number from 0 to 1.');
  return value;
}

/** An age such as `90d`, in milliseconds. */
export function ageOption(text: string): number {
  const ageMs = parseAgeMs(text);
  if (ageMs === undefined) throw new InvalidArgumentError('must be an age: 90d, 12h, 30m or 45s.');
  return ageMs;
}

/** `0`, `500ms`, or as an age: in milliseconds. */
export function lagOption(text: string): number {
  const [, milliseconds] = /^(\d{1,9})ms$/.exec(text) ?? [];
  return milliseconds === undefined && text !== '0' ? ageOption(text) : Number(milliseconds ?? 0);
}

export const listOption = (text: string): string[] => text.split(',').map((part) => part.trim());

/** `a=b,c=d` → { a: 'b', c: 'd' }. */
export function pairsOption(text: string): Record<string, string> {
  return Object.fromEntries(
    listOption(text).map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new InvalidArgumentError('must be pairs: a=b,c=d.');
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
