/** Parsers of option values; what does not parse is wrong use. */
import { InvalidArgumentError } from 'commander';

export const integerOption =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`must be an integer from ${least}.`);
    return value;
  };

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
