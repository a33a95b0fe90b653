/**
 * One configuration from a file, the environment and the command line, each overriding the one before, key by key.
 * What is not known is refused with the nearest known name: a key with a slip in it would otherwise do nothing.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { CONFIG_KEYS, ENV_PREFIX, withoutSecrets } from './config-keys.ts';
import type { ConfigKey } from './config-keys.ts';
import { configuration } from './config-schema.ts';
import { FreshetError } from './errors.ts';
import { nearest } from './nearest.ts';
import { packagePath } from './package-root.ts';

export { CONFIG_KEYS, configurationTable, withoutSecrets } from './config-keys.ts';
export type { ConfigKey } from './config-keys.ts';

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** The validated configuration; `dataDir`, `model` and what names a file are absolute paths. */
export type Config = DeepReadonly<z.output<typeof configuration>>;
export type SequenceConfig = Config['sequences'][number];

export interface ConfigSources {
  /** The file named on the command line; without it freshet.config.json in `cwd` is read, if there is one. */
  readonly file?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Parsed flags by their attribute, e.g. `commitIntervalMs`; undefined ones were not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly cwd: string;
}

const DEFAULT_FILE = 'freshet.config.json';
const MAX_QUOTED_CHARS = 60;

type Values = Record<string, unknown>;
/** Where the value of a key came from, for messages; a key without an entry has its default. */
type Origins = Map<string, string>;

/** Throws FILE_NOT_FOUND, CONFIG_UNKNOWN_KEY or CONFIG_INVALID, naming the key, what is wrong and the source. */
export function loadConfig({ file, env, flags, cwd }: ConfigSources): Config {
  const origins: Origins = new Map();
  const values = readConfigFile(resolve(cwd, file ?? DEFAULT_FILE), file !== undefined, origins);
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(ENV_PREFIX) || text === undefined) continue;
    override(values, origins, findKey('env', name, 'environment variable'), text, `environment variable ${name}`);
  }
  for (const [name, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const key = findKey('attribute', name, 'flag');
    override(values, origins, key, value, `flag ${key.flag}`);
  }

  const parsed = configuration.safeParse(values);
  if (!parsed.success) throw refusal(parsed.error.issues, values, origins);
  const config = parsed.data;
  const model = origins.has('model') ? resolve(cwd, config.model) : packagePath(config.model);
  return deepFreeze({
    ...config,
    dataDir: resolve(cwd, config.dataDir),
    model,
    kafka: withAbsoluteFiles(config.kafka, cwd),
    registryAuth: withAbsoluteFiles(config.registryAuth, cwd),
  });
}

/** Paths in keys like `tlsCaFile` are relative to the working folder. */
function withAbsoluteFiles<T extends object>(group: T, cwd: string): T {
  const absolute = Object.entries(group).map(([name, value]: [string, unknown]) => {
    return [name, name.endsWith('File') && typeof value === 'string' ? resolve(cwd, value) : value];
  });
  return Object.fromEntries(absolute) as T;
}

function readConfigFile(path: string, required: boolean, origins: Origins): Values {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (!required && (error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new FreshetError('FILE_NOT_FOUND', path, { cause: error });
  }
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw new FreshetError('CONFIG_INVALID', `file ${path} is not JSON: ${syntaxProblem(error as SyntaxError)}`);
  }
  if (!isObject(values)) throw new FreshetError('CONFIG_INVALID', `file ${path} is not a JSON object`);
  for (const [key, value] of Object.entries(values)) {
    origins.set(key, `file ${path}`);
    if (isObject(value)) for (const inner of Object.keys(value)) origins.set(`${key}.${inner}`, `file ${path}`);
  }
  return values;
}

/** V8 quotes what stands around the mistake, maybe a password: that part is left out. */
const syntaxProblem = ({ message }: SyntaxError): string => message.replace(/, [^]* is not valid JSON$/, '');

function findKey(by: 'env' | 'attribute', name: string, what: string): ConfigKey {
  const key = CONFIG_KEYS.find((each) => each[by] === name);
  if (key !== undefined) return key;
  const known = CONFIG_KEYS.flatMap((each) => each[by] ?? []);
  throw new FreshetError('CONFIG_UNKNOWN_KEY', `${what} ${name}; the nearest known one is ${nearest(name, known)}`);
}

function override(values: Values, origins: Origins, key: ConfigKey, given: unknown, origin: string): void {
  const value = typeof given === 'string' ? parseText(given, key.kind) : given;
  const [group, inner] = key.path.split('.') as [string, string | undefined];
  origins.set(key.path, origin);
  if (inner === undefined) {
    values[group] = value;
    return;
  }
  const members = values[group] ?? {};
  // A group that is no object is the file's mistake: it stays, and validation says so.
  if (isObject(members)) values[group] = { ...members, [inner]: value };
}

/** Text that does not parse is left as it is, so that validation names what was expected. */
function parseText(text: string, kind: ConfigKey['kind']): unknown {
  switch (kind) {
    case 'text':
      return text;
    case 'text or null':
      return text === '' ? null : text;
    case 'number':
      return parseNumber(text);
    case 'json':
      return parseJson(text);
    case 'list of texts':
    case 'list of numbers': {
      if (text.trimStart().startsWith('[')) return parseJson(text);
      if (text === '') return [];
      const items = text.split(',').map((item) => item.trim());
      return kind === 'list of texts' ? items : items.map(parseNumber);
    }
  }
}

const parseNumber = (text: string): number | string => (/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

type Issue = z.core.$ZodIssue;

function refusal(issues: readonly Issue[], values: Values, origins: Origins): FreshetError {
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    const key = keyText([...issue.path, issue.keys[0]!]);
    const known = nearest(
      key.replaceAll(/\[\d+\]/g, '[]'),
      CONFIG_KEYS.map((each) => each.path),
    );
    return new FreshetError(
      'CONFIG_UNKNOWN_KEY',
      `${key} in ${originOf(key, origins)}; the nearest known one is ${known}`,
    );
  }
  const problems = issues.map((issue) => {
    const key = keyText(issue.path);
    return `${key}: ${messageOf(issue)}${quoted(issue.path, valueAt(values, issue.path))} (${originOf(key, origins)})`;
  });
  return new FreshetError('CONFIG_INVALID', problems.join('; '));
}

/** E.g. `sequences[0].windowSize`. */
const keyText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');

function messageOf(issue: Issue): string {
  if (issue.code !== 'invalid_union') return issue.message;
  return issue.errors.flatMap((branch) => branch.map(messageOf)).join(', or ');
}

function quoted(path: readonly PropertyKey[], value: unknown): string {
  if (value === undefined) return '';
  const name = String(path.at(-1));
  const text = withoutSecrets({ [name]: value }).slice(JSON.stringify(name).length + 2, -1);
  return `, given ${text.length > MAX_QUOTED_CHARS ? `${text.slice(0, MAX_QUOTED_CHARS)}…` : text}`;
}

/** The source of the longest part of the key that was given anywhere. */
function originOf(key: string, origins: Origins): string {
  for (let part = key; part !== ''; part = part.replace(/(^|\.|\[)[^.[]*$/, '')) {
    const origin = origins.get(part);
    if (origin !== undefined) return origin;
  }
  return 'default';
}

const valueAt = (values: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((value, part) => (value as Record<PropertyKey, unknown> | undefined)?.[part], values);

const isObject = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
