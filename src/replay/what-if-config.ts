/** The configuration that a what-if compares with: the one in force, with some of what records depend on changed. */
import { resolve } from 'node:path';
import type { Config } from '../base/config.ts';
import { configuration } from '../base/config-schema.ts';
import { FreshetError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { SHAPING_KEYS } from './shaping-config.ts';

const CHANGEABLE: readonly string[] = [...SHAPING_KEYS, 'model'];

export interface Change {
  /** E.g. `sequences.0.windowSize`; a whole key, such as `sequences`, where a file gives it. */
  readonly path: string;
  readonly value: unknown;
}

/** `sequences.0.windowSize=50`; a value that is no JSON is a text. Throws USAGE. */
export function parseChange(text: string): Change {
  const at = text.indexOf('=');
  if (at < 1) throw new FreshetError('USAGE', '--what-if-set must be KEY=VALUE, e.g. sequences.0.windowSize=50');
  return { path: text.slice(0, at), value: valueOf(text.slice(at + 1)) };
}

/** The keys of a file that holds a JSON object. Throws CONFIG_INVALID. */
export function changesIn(text: string, file: string): Change[] {
  const values = valueOf(text);
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new FreshetError('CONFIG_INVALID', `${file} is not a JSON object`);
  }
  return Object.entries(values).map(([path, value]: [string, unknown]) => ({ path, value }));
}

/** Throws CONFIG_UNKNOWN_KEY and CONFIG_INVALID. `cwd`: what the path of a model is relative to. */
export function changedConfig(config: Config, changes: readonly Change[], cwd: string): Config {
  const values = JSON.parse(JSON.stringify(config)) as Record<string, unknown>;
  for (const { path, value } of changes) {
    const [key, ...inner] = path.split('.') as [string, ...string[]];
    if (!CHANGEABLE.includes(key)) {
      const detail = `${key} is not among what a what-if changes; the nearest that is: ${nearest(key, CHANGEABLE)}`;
      throw new FreshetError('CONFIG_UNKNOWN_KEY', detail, { remedy: `Change one of ${CHANGEABLE.join(', ')}.` });
    }
    replace(values, [key, ...inner], value, path);
    if (key === 'model' && typeof value === 'string') values['model'] = resolve(cwd, value);
  }
  const parsed = configuration.safeParse(values);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new FreshetError('CONFIG_INVALID', `what-if: ${problems.join('; ')}`);
}

function replace(values: object, names: readonly string[], value: unknown, path: string): void {
  let at = values as Record<string, unknown>;
  for (const name of names.slice(0, -1)) {
    const next = Object.hasOwn(at, name) ? at[name] : undefined;
    if (typeof next !== 'object' || next === null) {
      throw new FreshetError('CONFIG_UNKNOWN_KEY', `${path}: there is no ${name} that could be changed`);
    }
    at = next as Record<string, unknown>;
  }
  at[names.at(-1)!] = value;
}

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
