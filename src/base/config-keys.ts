/** The configuration keys as data, taken from the schema: for loading, for `--help` and for docs/configuration.md. */
import { z } from 'zod';
import { keys } from './config-schema.ts';

export interface ConfigKey {
  /** E.g. `commit.intervalMs`; `sequences[].name` for a key of each element of a list. */
  readonly path: string;
  /** How a variable's or flag's text becomes a value; a list may also be given as JSON, an empty text as null. */
  readonly kind: 'text' | 'text or null' | 'number' | 'list of texts' | 'list of numbers' | 'json';
  /** For people, with limits, e.g. `integer 1–1024`. */
  readonly type: string;
  /** Undefined: the key is required. */
  readonly default: unknown;
  readonly description: string;
  /** E.g. `FRESHET_COMMIT_INTERVAL_MS`; null inside a list, which is given whole. */
  readonly env: string | null;
  /** E.g. `--commit-interval-ms`; null inside a list and of a secret. */
  readonly flag: string | null;
  /** The flag's name in the object of parsed flags, e.g. `commitIntervalMs`; null where there is no flag. */
  readonly attribute: string | null;
  /** Never printed, neither by `freshet config` nor in a log line or message. */
  readonly secret: boolean;
}

export const ENV_PREFIX = 'FRESHET_';

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly secret?: boolean;
}

export const CONFIG_KEYS: readonly ConfigKey[] = keysOf(z.toJSONSchema(keys, { io: 'input' }) as JsonSchema, '', false);

const SECRET_NAMES = new Set(CONFIG_KEYS.filter(({ secret }) => secret).map(({ path }) => path.split('.').at(-1)!));

/** JSON in which secrets are `***`, as are credentials in URLs. */
export function withoutSecrets(value: unknown, indent = 0): string {
  const replaced = (name: string, part: unknown): unknown => {
    if (SECRET_NAMES.has(name) && part !== null) return '***';
    return typeof part === 'string' ? part.replace(/(?<=\/\/)\S*@|[^\s/:]+:[^\s/]*@/, '***@') : part;
  };
  return JSON.stringify(value, replaced, indent);
}

/** The keys as a Markdown table. */
export function configurationTable(): string {
  const rows = CONFIG_KEYS.map((key) => [
    code(key.path),
    key.type,
    key.default === undefined ? 'required' : code(JSON.stringify(key.default)),
    key.env === null ? '' : code(key.env),
    key.flag === null ? '' : code(key.flag),
    key.description,
  ]);
  const header = ['Key', 'Type', 'Default', 'Environment', 'Flag', 'Meaning'];
  return [header, header.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
}

const code = (text: string): string => `\`${text}\``;

function keysOf(group: JsonSchema, prefix: string, insideList: boolean): ConfigKey[] {
  return Object.entries(group.properties ?? {}).flatMap(([name, schema]) => {
    const path = `${prefix}${name}`;
    // A group is an object with named keys; `undo`, a map, has none and is a key of its own.
    if (schema.properties !== undefined) return keysOf(schema, `${path}.`, insideList);
    const elementKeys = schema.items?.properties === undefined ? [] : keysOf(schema.items, `${path}[].`, true);
    return [keyOf(path, schema, insideList), ...elementKeys];
  });
}

function keyOf(path: string, schema: JsonSchema, insideList: boolean): ConfigKey {
  const words = path.split(/\.|(?=[A-Z])/).map((word) => word.toLowerCase());
  const secret = schema.secret === true;
  const hasFlag = !insideList && !secret;
  return {
    path,
    kind: kindOf(schema),
    type: typeText(schema),
    default: schema.default,
    description: schema.description ?? '',
    env: insideList ? null : `${ENV_PREFIX}${words.join('_').toUpperCase()}`,
    flag: hasFlag ? `--${words.join('-')}` : null,
    attribute: hasFlag ? words.map((word, at) => (at === 0 ? word : capitalized(word))).join('') : null,
    secret,
  };
}

function capitalized(word: string): string {
  return `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`;
}

function kindOf(schema: JsonSchema): ConfigKey['kind'] {
  if (schema.type === 'string') return 'text';
  if (schema.anyOf?.some(({ type }) => type === 'string') === true) return 'text or null';
  if (schema.type === 'integer') return 'number';
  if (schema.type === 'array' && schema.items?.type === 'string') return 'list of texts';
  if (schema.type === 'array' && schema.items?.type === 'integer') return 'list of numbers';
  return 'json';
}

function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeText).join(' or ');
  if (schema.enum !== undefined) return schema.enum.map(String).join(', ');
  if (schema.type === 'integer') return `integer ${schema.minimum}–${schema.maximum}`;
  if (schema.type === 'array')
    return `list of ${schema.items?.properties === undefined ? typeText(schema.items ?? {}) : 'objects'}`;
  return schema.type === 'object' ? 'map of string to string' : (schema.type ?? '');
}
