/** The registry over HTTP: what is written there, what is believed, and that none of its failures rejects a record. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import { Codec } from '../src/serde/codec.ts';
import { Registry, shippedSchemas } from '../src/serde/registry.ts';
import type { ConnectOptions, RegistryAuth } from '../src/serde/registry.ts';
import { shippedSchema, SUBJECTS } from '../topics/index.ts';
import type { Subject } from '../topics/index.ts';
import { FakeRegistry, guidOf } from './support/fake-registry.ts';
import type { Fault } from './support/fake-registry.ts';
import { tempDir } from './support/temp-dir.ts';

const SUBJECT = 'user-actions-value';
const ACTION = { userId: 'u', itemId: 'i', actionType: 'view', eventTimeMs: 1, surface: 'web' };
const CALL_TIMEOUT_MS = 400;
const MINUTE_MS = 60_000;

let fake: FakeRegistry;
let lines: Record<string, unknown>[];
let nowMs: number;
beforeEach(async () => {
  fake = await FakeRegistry.start();
  lines = [];
  nowMs = 1_000;
});
afterEach(() => fake.stop());

const connect = (options: Partial<ConnectOptions> = {}): Promise<Registry> =>
  Registry.connect({
    url: fake.url,
    mode: 'register',
    waitMs: 0,
    callTimeoutMs: CALL_TIMEOUT_MS,
    clock: { now: () => nowMs },
    logger: createLogger('warn', { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) }),
    ...options,
  });

async function failure(promise: Promise<unknown>): Promise<FreshetError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof FreshetError) return error;
    throw error;
  }
  throw new Error('nothing failed');
}
const codeOf = async (promise: Promise<unknown>): Promise<string> => (await failure(promise)).code;

/** The shipped schemas as somebody else registered them. */
function registerAll(change: (schema: string, subject: Subject) => string = (schema) => schema): void {
  for (const subject of SUBJECTS) fake.register(subject, change(shippedSchemas()[subject], subject));
}

/** A version of user-actions that Freshet does not ship, and a record of it. */
const OTHER = JSON.stringify({ ...shippedSchema(SUBJECT), doc: 'As another producer has it.' });
const BODY = Buffer.from('0275026908766965770200', 'hex');
const DECODED = { userId: 'u', itemId: 'i', actionType: 'view', eventTimeMs: 1, surface: null };
function framed(id: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeInt32BE(id, 1);
  return Buffer.concat([prefix, BODY]);
}
const framedByGuid = (guid: string): Buffer =>
  Buffer.concat([Buffer.from(`01${guid.replaceAll('-', '')}`, 'hex'), BODY]);
const UNKNOWN_ID = 4_711;

describe('in the mode `register`', () => {
  it('each shipped schema is registered under its subject, docs and all, with FULL_TRANSITIVE', async () => {
    const registry = await connect();
    expect([...fake.subjects.keys()]).toEqual([...SUBJECTS]);
    for (const subject of SUBJECTS) {
      const [version] = fake.subjects.get(subject)!;
      expect(JSON.parse(version!.schema)).toEqual(shippedSchema(subject));
      expect(fake.levels.get(subject)).toBe('FULL_TRANSITIVE');
      expect(registry.id(subject)).toBe(version!.id);
    }
    const codec = await Codec.open(registry);
    const value = codec.encode(SUBJECT, ACTION);
    expect(value.readInt32BE(1)).toBe(registry.id(SUBJECT));
    expect(codec.decode(SUBJECT, value)).toEqual(ACTION);
  });

  it('nothing is written where all is as it should be', async () => {
    const first = await connect();
    const before = fake.writes.length;
    const again = await connect();
    expect(fake.writes).toHaveLength(before);
    expect(again.id(SUBJECT)).toBe(first.id(SUBJECT));
  });

  it('a prefix stands before each subject', async () => {
    await connect({ subjectPrefix: 'staging.' });
    expect([...fake.subjects.keys()]).toEqual(SUBJECTS.map((subject) => `staging.${subject}`));
    expect([...fake.levels.keys()]).toEqual(SUBJECTS.map((subject) => `staging.${subject}`));
  });

  it('what another worker registered in the same moment is found', async () => {
    fake.fault = ({ method, path }) => {
      if (method !== 'POST' || !path.startsWith(`/subjects/${SUBJECT}/versions`)) return undefined;
      fake.register(SUBJECT, shippedSchemas()[SUBJECT]);
      return { status: 409, body: '{"error_code":409,"message":"Artifact already exists"}' };
    };
    expect((await connect()).id(SUBJECT)).toBe(fake.subjects.get(SUBJECT)![0]!.id);
  });

  it.each([
    ['an incompatible schema', 'SCHEMA_INCOMPATIBLE', 'POST', `/subjects/${SUBJECT}/versions`, 409],
    ['a schema that is not taken', 'SCHEMA_REFUSED', 'POST', `/subjects/${SUBJECT}/versions`, 422],
    ['a compatibility that cannot be set', 'COMPATIBILITY_WEAK', 'PUT', `/config/${SUBJECT}`, 422],
    ['a compatibility that may not be set', 'REGISTRY_DENIED', 'PUT', `/config/${SUBJECT}`, 403],
    ['a compatibility that is set and not in force', 'COMPATIBILITY_WEAK', 'PUT', '/config', 200],
  ])('%s stops at once: %s', async (_, code, method, path, status) => {
    const body = `{"error_code":${status},"message":"so it is","compatibility":"FULL_TRANSITIVE"}`;
    fake.fault = (call) => (call.method === method && call.path.startsWith(path) ? { status, body } : undefined);
    const error = await failure(connect({ waitMs: Infinity }));
    expect([error.code, error.remedy === '']).toEqual([code, false]);
    expect(error.detail).toContain(status === 403 ? '403' : SUBJECT);
  });

  it('an id under which readers get another schema is refused', async () => {
    fake.fault = ({ path }) =>
      path.startsWith('/schemas/ids') ? { status: 200, body: '{"schema":"\\"int\\""}' } : undefined;
    const error = await failure(connect());
    expect([error.code, error.detail]).toEqual(['SCHEMA_MISSING', expect.stringContaining('another schema under id')]);
  });
});

describe('in the mode `lookup`', () => {
  it('the ids of the shipped schemas are found, and nothing is written', async () => {
    registerAll();
    fake.register(SUBJECT, OTHER);
    const registry = await connect({ mode: 'lookup' });
    for (const subject of SUBJECTS) expect(registry.id(subject)).toBe(fake.subjects.get(subject)![0]!.id);
    expect(fake.writes).toEqual([]);
  });

  it('a schema that was registered with other white space is found', async () => {
    registerAll((schema) => JSON.stringify(JSON.parse(schema), null, 2));
    fake.register(SUBJECT, OTHER);
    const registry = await connect({ mode: 'lookup' });
    for (const subject of SUBJECTS) expect(registry.id(subject)).toBe(fake.subjects.get(subject)![0]!.id);
  });

  it.each([
    ['missing', (): void => registerAll((schema, subject) => (subject === SUBJECT ? OTHER : schema))],
    ['missing with its subject', (): void => registerAll((schema, subject) => (subject === SUBJECT ? '' : schema))],
  ])('a schema that is %s is refused with the remedy, and nothing is written', async (what, register) => {
    register();
    if (what !== 'missing') fake.subjects.delete(SUBJECT);
    const error = await failure(connect({ mode: 'lookup', waitMs: Infinity }));
    expect([error.code, error.detail]).toEqual(['SCHEMA_MISSING', expect.stringContaining(`subject ${SUBJECT}`)]);
    expect(error.remedy).toContain('--registry-mode=register');
    expect(fake.writes).toEqual([]);
  });

  it.each([
    ['weaker', (): void => void fake.levels.set(SUBJECT, 'BACKWARD'), 'BACKWARD'],
    ['that of a weaker registry', (): void => void fake.levels.delete(SUBJECT), 'BACKWARD'],
    ['secret', (): void => void (fake.fault = ({ path }) => denied(path === `/config/${SUBJECT}`)), 'not to be read'],
  ])('a compatibility that is %s is worth a line of the log', async (_, weaken, level) => {
    registerAll();
    for (const subject of SUBJECTS) fake.levels.set(subject, 'FULL_TRANSITIVE');
    weaken();
    await connect({ mode: 'lookup' });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 40, code: 'COMPATIBILITY_WEAK', subject: SUBJECT });
    expect(JSON.stringify(lines[0])).toContain(level);
  });

  it('a compatibility that the subjects have from the registry suffices', async () => {
    registerAll();
    fake.level = 'FULL_TRANSITIVE';
    await connect({ mode: 'lookup' });
    expect(lines).toEqual([]);
  });
});

const denied = (isDenied: boolean): Fault | undefined =>
  isDenied ? { status: 401, body: '{"error_code":40101,"message":"Unauthorized"}' } : undefined;

describe('credentials', () => {
  const PASSWORD = 'pässword:7';
  const basic = (password: string): string => `Basic ${Buffer.from(`writer:${password}`).toString('base64')}`;
  const none: RegistryAuth = { username: null, password: null, passwordFile: null, tokenFile: null };
  const fileOf = (text: string): string => {
    const file = join(tempDir(), 'secret');
    writeFileSync(file, text);
    return file;
  };
  const accept = (authorization: string): void => {
    fake.fault = (call) => denied(call.authorization !== authorization);
  };

  it.each([
    ['a password', basic(PASSWORD), () => ({ ...none, username: 'writer', password: PASSWORD })],
    ['a file', basic(PASSWORD), () => ({ ...none, username: 'writer', passwordFile: fileOf(`${PASSWORD}\n`) })],
    ['a token', 'Bearer t0k3n', () => ({ ...none, tokenFile: fileOf('t0k3n\n') })],
  ])('from %s go with every call', async (_, authorization, auth) => {
    accept(authorization);
    await connect({ auth: auth() });
    expect(new Set(fake.calls.map((call) => call.authorization))).toEqual(new Set([authorization]));
  });

  it('that are refused stop the start at once and appear nowhere', async () => {
    accept(basic('another'));
    const error = await failure(
      connect({ auth: { ...none, username: 'writer', password: PASSWORD }, waitMs: Infinity }),
    );
    expect(error.code).toBe('REGISTRY_DENIED');
    const said = inspect(error, { depth: Infinity, showHidden: true }) + JSON.stringify(lines);
    expect(said).not.toContain(PASSWORD);
    expect(said).not.toContain(basic(PASSWORD).slice('Basic '.length));
  });

  it('appear in no error of a registry that does not answer', async () => {
    await fake.stop();
    const error = await failure(connect({ auth: { ...none, username: 'writer', password: PASSWORD }, waitMs: 1 }));
    const said = inspect(error, { depth: Infinity, showHidden: true }) + JSON.stringify(lines);
    expect(said).toContain('ECONNREFUSED');
    expect(said).not.toContain(basic(PASSWORD).slice('Basic '.length));
  });

  it('that are replaced in their file are taken up; until then the records wait', async () => {
    const tokenFile = fileOf('first');
    const codec = await Codec.open(await connect({ auth: { ...none, tokenFile } }));
    const value = framed(fake.register('elsewhere', OTHER));
    accept('Bearer second');
    expect(await codeOf(codec.learn([{ value }]))).toBe('REGISTRY_UNAVAILABLE');
    writeFileSync(tokenFile, 'second');
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
  });

  it('whose file is missing stop the start', async () => {
    const auth = { ...none, tokenFile: join(tempDir(), 'absent') };
    expect(await codeOf(connect({ auth, waitMs: Infinity }))).toBe('FILE_NOT_FOUND');
  });
});

describe('a registry that is down at the start', () => {
  it('is waited for, with lines that say so', async () => {
    await fake.stop();
    const connecting = connect({ waitMs: Infinity });
    await expect.poll(() => lines.length).toBeGreaterThan(0);
    await fake.start();
    expect((await connecting).id(SUBJECT)).toBe(fake.subjects.get(SUBJECT)![0]!.id);
    expect(lines[0]).toMatchObject({ level: 40, code: 'REGISTRY_UNAVAILABLE', pauseMs: 500 });
  });

  it.each([1, 2, 4, 7, 30])('may break off at its answer number %i', async (answer) => {
    let left = answer;
    fake.fault = () => ((left -= 1) === 0 ? { status: 404, body: 'default backend' } : undefined);
    expect((await connect({ waitMs: 5_000 })).id(SUBJECT)).toBeGreaterThan(0);
    expect(lines).toHaveLength(1);
  });

  it('is waited for no longer than wanted', async () => {
    await fake.stop();
    const startedMs = performance.now();
    const error = await failure(connect({ waitMs: 700 }));
    expect(performance.now() - startedMs).toBeLessThan(700 + 2 * CALL_TIMEOUT_MS);
    expect([error.code, error.remedy === '']).toEqual(['REGISTRY_UNAVAILABLE', false]);
    expect(error.message).toContain(new URL(fake.url).host);
    expect(lines.length).toBeGreaterThan(0);
  });

  it('is waited for no longer when the process is to stop', async () => {
    await fake.stop();
    const stop = new AbortController();
    const connecting = codeOf(connect({ waitMs: Infinity, signal: stop.signal }));
    await expect.poll(() => lines.length).toBeGreaterThan(0);
    stop.abort();
    expect(await connecting).toBe('REGISTRY_UNAVAILABLE');
  });
});

describe('a failure while schemas are learned', () => {
  const proxy: Fault = { status: 404, body: '<html>default backend</html>' };

  it.each<[string, Fault]>([
    ['a connection that is reset', 'reset'],
    ['silence', 'silence'],
    ['an answer that never ends', 'drip'],
    ['an error of the registry', { status: 500, body: '{"error_code":50001,"message":"store"}' }],
    ['an error of a proxy', { status: 503, body: 'no healthy upstream' }],
    ['too many requests', { status: 429, body: '{"error_code":42901,"message":"slower"}' }],
    ['refused credentials', { status: 401, body: '{"error_code":40101,"message":"Unauthorized"}' }],
    ['a redirect', { status: 302, body: '' }],
    ['a proxy without a registry', proxy],
    ['a page that is no answer', { status: 200, body: '<html>log in</html>' }],
    ['an answer without a schema', { status: 200, body: '{}' }],
  ])('by %s makes the records wait, not longer than the limit, and is over when it is over', async (_, fault) => {
    const codec = await Codec.open(await connect());
    const value = framed(fake.register('elsewhere', OTHER));
    fake.fault = () => fault;
    const startedMs = performance.now();
    const error = await failure(codec.learn([{ value }]));
    expect(error.code).toBe('REGISTRY_UNAVAILABLE');
    expect(performance.now() - startedMs).toBeLessThan(CALL_TIMEOUT_MS + 300);
    fake.fault = () => undefined;
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
  });

  it('by one reset, as of a connection that was idle for long, is not even noticed', async () => {
    const codec = await Codec.open(await connect());
    const value = framed(fake.register('elsewhere', OTHER));
    let resets = 0;
    fake.fault = () => ((resets += 1) === 1 ? 'reset' : undefined);
    await codec.learn([{ value }]);
    expect(resets).toBe(2);
  });

  it('goes on after the registry was down and came back', async () => {
    const codec = await Codec.open(await connect());
    const value = framed(fake.register('elsewhere', OTHER));
    await fake.stop();
    expect(await codeOf(codec.learn([{ value }]))).toBe('REGISTRY_UNAVAILABLE');
    await codec.learn([{ value: codec.encode(SUBJECT, ACTION) }]); // What is known needs no registry.
    await fake.start();
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
  });
});

describe('an id that the registry does not know', () => {
  const batch = [{ value: framed(UNKNOWN_ID) }];
  let codec: Codec;
  beforeEach(async () => {
    codec = await Codec.open(await connect());
    fake.calls.length = 0;
  });
  const decodeCode = (value: Buffer): Promise<string> =>
    codeOf(Promise.resolve().then(() => codec.decode(SUBJECT, value)));
  /** As a task that tries again each second. */
  async function learnFor(durationMs: number, records = batch): Promise<Set<string>> {
    const codes = new Set<string>();
    for (const endMs = nowMs + durationMs; nowMs < endMs; nowMs += 1_000) codes.add(await codeOf(codec.learn(records)));
    return codes;
  }

  it('is waited for, and rejected once the registry has said so for a minute', async () => {
    expect(await learnFor(MINUTE_MS)).toEqual(new Set(['SCHEMA_PENDING']));
    await codec.learn(batch);
    expect(await decodeCode(batch[0]!.value)).toBe('SCHEMA_UNKNOWN');
    // Asked every five seconds, not every time.
    expect(fake.calls.map(({ path }) => path)).toEqual(new Array(13).fill(`/schemas/ids/${UNKNOWN_ID}?subject=`));
  });

  it('and that becomes known after half a minute is read', async () => {
    const value = framed(101 + SUBJECTS.length);
    expect(await learnFor(MINUTE_MS / 2, [{ value }])).toEqual(new Set(['SCHEMA_PENDING']));
    expect(fake.register('elsewhere', OTHER)).toBe(value.readInt32BE(1));
    nowMs += 5_000;
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
  });

  it('and becomes known after it was rejected is read from then on', async () => {
    const value = framed(101 + SUBJECTS.length);
    await learnFor(MINUTE_MS, [{ value }]);
    await codec.learn([{ value }]);
    expect(await decodeCode(value)).toBe('SCHEMA_UNKNOWN');
    fake.register('elsewhere', OTHER);
    nowMs += 5_000;
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
  });

  it('is not believed over an outage: the minute starts anew', async () => {
    expect(await learnFor(50_000)).toEqual(new Set(['SCHEMA_PENDING']));
    fake.fault = () => ({ status: 503, body: '' });
    expect(await learnFor(5_000)).toContain('REGISTRY_UNAVAILABLE');
    fake.fault = () => undefined;
    expect(await learnFor(MINUTE_MS)).toEqual(new Set(['SCHEMA_PENDING']));
    await codec.learn(batch);
    expect(await decodeCode(batch[0]!.value)).toBe('SCHEMA_UNKNOWN');
  });

  it('is waited for together with all others of its batch, whatever else is in it', async () => {
    const values = Array.from({ length: 20 }, (_, index) => ({ value: framed(UNKNOWN_ID + index) }));
    const mixed = [...values, { value: codec.encode(SUBJECT, ACTION) }, ...values];
    const { detail } = await failure(codec.learn(mixed));
    expect(detail).toBe('schema 4711, 4712, 4713, 4714, 4715 and 15 more');
    nowMs += MINUTE_MS;
    await codec.learn(mixed);
    expect(fake.calls).toHaveLength(40);
  });

  it('is asked for once where several tasks meet it', async () => {
    const codes = await Promise.all(Array.from({ length: 8 }, () => codeOf(codec.learn(batch))));
    expect(codes).toEqual(new Array(8).fill('SCHEMA_PENDING'));
    expect(fake.calls).toHaveLength(1);
  });

  it('or a GUID that it does not know: the same', async () => {
    const records = [{ value: framedByGuid(guidOf('absent')) }];
    expect(await learnFor(MINUTE_MS, records)).toEqual(new Set(['SCHEMA_PENDING']));
    await codec.learn(records);
    expect(await decodeCode(records[0]!.value)).toBe('SCHEMA_UNKNOWN');
  });

  it('or a GUID where the registry has none: the same, as it works otherwise', async () => {
    fake.hasGuids = false;
    const records = [{ value: framedByGuid(guidOf('absent')) }];
    expect(await learnFor(MINUTE_MS, records)).toEqual(new Set(['SCHEMA_PENDING']));
    await codec.learn(records);
    expect(await decodeCode(records[0]!.value)).toBe('SCHEMA_UNKNOWN');
  });

  it.each<[string, (path: string) => Fault]>([
    ['has lost its registry', () => ({ status: 404, body: 'default backend' })],
    ['wants a log-in', (path) => ({ status: path.startsWith('/schemas') ? 404 : 200, body: '<html>log in</html>' })],
  ])('or a GUID, where a proxy %s, is not unknown', async (_, fault) => {
    fake.fault = ({ path }) => fault(path);
    expect(await codeOf(codec.learn([{ value: framedByGuid(guidOf('absent')) }]))).toBe('REGISTRY_UNAVAILABLE');
  });
});

it('has an end: a producer that registers a schema a record is stopped', async () => {
  const codec = await Codec.open(await connect({ callTimeoutMs: 10_000 }));
  const body = JSON.stringify({ schema: `"int"${' '.repeat(3_900_000)}` });
  fake.fault = () => ({ status: 200, body });
  const values = Array.from({ length: 20 }, (_, index) => ({ value: framed(200 + index) }));
  expect(await codeOf(codec.learn(values))).toBe('SCHEMA_LIMIT');
});

describe('a GUID that the registry knows', () => {
  it('is read in the prefix and in the header, and asked for once', async () => {
    const codec = await Codec.open(await connect());
    fake.register('elsewhere', OTHER);
    fake.calls.length = 0;
    const value = framedByGuid(guidOf(OTHER));
    const headers = { __value_schema_id: value.subarray(0, 17) };
    await codec.learn([{ value }, { value: BODY, headers }, { value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
    expect(codec.decode(SUBJECT, BODY, headers)).toEqual(DECODED);
    expect(fake.calls).toHaveLength(1);
  });

  it('of a shipped schema is known without asking', async () => {
    const codec = await Codec.open(await connect());
    fake.calls.length = 0;
    const value = framedByGuid(guidOf(shippedSchemas()[SUBJECT]));
    await codec.learn([{ value }]);
    expect(codec.decode(SUBJECT, value)).toEqual(DECODED);
    expect(fake.calls).toEqual([]);
  });
});
