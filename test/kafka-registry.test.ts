/** The registry over HTTP, against a real one: Apicurio, which answers as Confluent's does, but not always. */
import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../src/base/logger.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry, shippedSchemas } from '../src/serde/registry.ts';
import type { ConnectOptions } from '../src/serde/registry.ts';
import { shippedSchema, SUBJECTS } from '../topics/index.ts';
import { codeOf } from './support/error-code.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';

const SUBJECT = 'user-actions-value';
const ACTION = { userId: 'u', itemId: 'i', actionType: 'view', eventTimeMs: 1, surface: 'web' };
const GUID = Buffer.from(`01${'a5'.repeat(16)}`, 'hex');

let url: string;
let subjectPrefix: string;
let lines: Record<string, unknown>[];
beforeEach(() => {
  url = kafkaForTests().registry;
  subjectPrefix = `${randomUUID()}.`;
  lines = [];
});

const connect = (options: Partial<ConnectOptions> = {}): Promise<Registry> =>
  Registry.connect({
    ...{ url, subjectPrefix, mode: 'register', waitMs: 0 },
    logger: createLogger('warn', { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) }),
    ...options,
  });
const ids = (registry: Registry): number[] => SUBJECTS.map((subject) => registry.id(subject));

/** Asks the registry without our client. */
async function ask(path: string, init: RequestInit = {}): Promise<unknown> {
  const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
  return (await fetch(`${url}${path}`, { headers, ...init })).json();
}
async function registerAs(subject: string, schema: string): Promise<number> {
  const body = JSON.stringify({ schemaType: 'AVRO', schema });
  return ((await ask(`/subjects/${subject}/versions`, { method: 'POST', body })) as { id: number }).id;
}

/** What a later version of Freshet may ship. */
function withField(field: object): Record<(typeof SUBJECTS)[number], string> {
  const schema = shippedSchema(SUBJECT);
  return { ...shippedSchemas(), [SUBJECT]: JSON.stringify({ ...schema, fields: [...schema.fields, field] }) };
}
const OPTIONAL = { name: 'device', type: 'string', default: '' };

describe('registering', () => {
  it('leaves each schema as it is shipped, docs and all, and FULL_TRANSITIVE in force', async () => {
    const registry = await connect();
    for (const subject of SUBJECTS) {
      const latest = await ask(`/subjects/${subjectPrefix}${subject}/versions/latest`);
      expect(latest).toMatchObject({ id: registry.id(subject), version: 1 });
      expect(JSON.parse((latest as { schema: string }).schema)).toEqual(shippedSchema(subject));
      expect(await ask(`/config/${subjectPrefix}${subject}`)).toEqual({ compatibilityLevel: 'FULL_TRANSITIVE' });
    }
  });

  it('by several workers at once gives all of them the same ids', async () => {
    // Texts that the registry has never seen, so that the workers race for new ids too.
    const schemas = withField({ ...OPTIONAL, doc: subjectPrefix });
    const registries = await Promise.all(Array.from({ length: 4 }, () => connect({ schemas, waitMs: 10_000 })));
    for (const registry of registries) expect(ids(registry)).toEqual(ids(registries[0]!));
    // Of a race Apicurio may keep two versions with one text, under one id.
    const versions = (await ask(`/subjects/${subjectPrefix}${SUBJECT}/versions`)) as number[];
    for (const version of versions) {
      const { id } = (await ask(`/subjects/${subjectPrefix}${SUBJECT}/versions/${version}`)) as { id: number };
      expect(id).toBe(registries[0]!.id(SUBJECT));
    }
  });

  it('a later version gives a new id, and both versions read each other', async () => {
    const old = await Codec.open(await connect());
    const registry = await connect({ schemas: withField(OPTIONAL) });
    const later = await Codec.open(registry);
    const [before, after] = [old.encode(SUBJECT, ACTION), later.encode(SUBJECT, { ...ACTION, device: 'phone' })];
    expect(before.readInt32BE(1)).not.toBe(after.readInt32BE(1));
    await later.learn([{ value: before }]);
    expect(later.decode(SUBJECT, before)).toEqual({ ...ACTION, device: '' });
    await old.learn([{ value: after }]);
    expect(old.decode(SUBJECT, after)).toEqual(ACTION);
  });

  it('a version that cannot be read by an earlier one is refused, and so by the registry itself', async () => {
    await connect();
    const schemas = withField({ ...OPTIONAL, default: undefined });
    expect(await codeOf(connect({ schemas }))).toBe('SCHEMA_INCOMPATIBLE');
    expect(await ask(`/subjects/${subjectPrefix}${SUBJECT}/versions`)).toEqual([1]);
  });
});

describe('looking up', () => {
  it('finds what was registered, also with other white space, and warns of a weak compatibility', async () => {
    for (const subject of SUBJECTS) {
      await registerAs(`${subjectPrefix}${subject}`, JSON.stringify(shippedSchema(subject), null, 1));
    }
    const found = await connect({ mode: 'lookup' });
    expect(lines.map(({ code }) => code)).toEqual(SUBJECTS.map(() => 'COMPATIBILITY_WEAK'));
    // Registering finds them as well, instead of adding a version that differs in white space alone.
    expect(ids(await connect())).toEqual(ids(found));
    lines = [];
    expect(ids(await connect({ mode: 'lookup' }))).toEqual(ids(found));
    expect(lines).toEqual([]);
  });

  it('refuses a subject that is missing or has another schema, and writes nothing', async () => {
    expect(await codeOf(connect({ mode: 'lookup' }))).toBe('SCHEMA_MISSING');
    expect(await ask('/subjects')).not.toContain(`${subjectPrefix}${SUBJECT}`);
    await registerAs(`${subjectPrefix}${SUBJECT}`, withField(OPTIONAL)[SUBJECT]);
    expect(await codeOf(connect({ mode: 'lookup' }))).toBe('SCHEMA_MISSING');
    expect(await ask(`/subjects/${subjectPrefix}${SUBJECT}/versions`)).toEqual([1]);
  });
});

describe('reading', () => {
  it('a schema that another producer registered later', async () => {
    const codec = await Codec.open(await connect());
    const schema = JSON.stringify({ ...shippedSchema(SUBJECT), doc: subjectPrefix });
    const value = codec.encode(SUBJECT, ACTION);
    value.writeInt32BE(await registerAs(`${subjectPrefix}elsewhere`, schema), 1);
    const headers = { __value_schema_id: value.subarray(0, 5) };
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(ACTION);
    expect(codec.decode(SUBJECT, value.subarray(5), headers)).toEqual(ACTION);
  });

  it.each([
    ['an id', Buffer.from([0, 0x7f, 0xff, 0xff, 0xff])],
    ['a GUID, of which this registry has none,', GUID],
  ])('%s that is unknown waits for a minute, then is unknown', async (_, prefix) => {
    let nowMs = 0;
    const codec = await Codec.open(await connect({ clock: { now: () => nowMs } }));
    const value = Buffer.concat([prefix, codec.body(codec.encode(SUBJECT, ACTION))]);
    const decode = (): unknown => codec.decode(SUBJECT, value);
    expect(await codeOf(codec.learn([{ value }]))).toBe('SCHEMA_PENDING');
    nowMs = 59_999;
    expect(await codeOf(codec.learn([{ value }]))).toBe('SCHEMA_PENDING');
    nowMs = 65_000;
    await codec.learn([{ value }]);
    expect(decode).toThrow(expect.objectContaining({ code: 'SCHEMA_UNKNOWN' }));
  });
});

it('ids differ between registries, bodies do not', async () => {
  const http = await Codec.open(await connect({ schemas: withField({ ...OPTIONAL, doc: subjectPrefix }) }));
  const embedded = await Codec.open(
    await Registry.open({ dataDir: null, schemas: withField({ ...OPTIONAL, doc: subjectPrefix }) }),
  );
  const record = { ...ACTION, device: 'phone' };
  const [here, there] = [embedded.encode(SUBJECT, record), http.encode(SUBJECT, record)];
  expect(here.readInt32BE(1)).not.toBe(there.readInt32BE(1));
  expect(http.body(there).equals(embedded.body(here))).toBe(true);
});

describe('a registry that is away', () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await startOwnKafka({ registry: true });
  });
  beforeEach(() => {
    url = kafka.registry!;
  });

  /** A codec, and a record under a schema that it has not met. */
  async function meetNewSchema(): Promise<{ codec: Codec; value: Buffer }> {
    const codec = await Codec.open(await connect({ callTimeoutMs: 1_000, waitMs: 10_000 }));
    const schema = JSON.stringify({ ...shippedSchema(SUBJECT), doc: subjectPrefix });
    const value = codec.encode(SUBJECT, ACTION);
    value.writeInt32BE(await registerAs(`${subjectPrefix}elsewhere`, schema), 1);
    return { codec, value };
  }

  it('keeps the records waiting while it is stopped, and they go on with it', async () => {
    const { codec, value } = await meetNewSchema();
    await kafka.stopRegistry();
    expect(await codeOf(codec.learn([{ value }]))).toBe('REGISTRY_UNAVAILABLE');
    const starting = connect({ waitMs: Infinity });
    expect(await codeOf(connect({ waitMs: 300 }))).toBe('REGISTRY_UNAVAILABLE');
    await kafka.startRegistry();
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(ACTION);
    expect((await starting).id(SUBJECT)).toBe(codec.encode(SUBJECT, ACTION).readInt32BE(1));
  });

  it('keeps them waiting no longer than a call may take while it hangs', async () => {
    const { codec, value } = await meetNewSchema();
    kafka.pauseRegistry();
    const startedMs = performance.now();
    const code = await codeOf(codec.learn([{ value }]));
    const tookMs = performance.now() - startedMs;
    kafka.resumeRegistry();
    expect([code, tookMs < 1_500]).toEqual(['REGISTRY_UNAVAILABLE', true]);
    await expect.poll(() => codeOf(codec.learn([{ value }])), { timeout: 10_000 }).toBe('fine');
    expect(codec.decode(SUBJECT, value)).toEqual(ACTION);
  });
});
