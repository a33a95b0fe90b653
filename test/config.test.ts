/** The configuration: file < environment < flags, key by key; slips refused with the nearest known name. */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONFIG_KEYS, configurationTable, loadConfig, withoutSecrets } from '../src/base/config.ts';
import type { Config } from '../src/base/config.ts';
import { FreshetError } from '../src/base/errors.ts';
import { editDistance, nearest } from '../src/base/nearest.ts';
import { packagePath } from '../src/base/package-root.ts';
import { tempDir } from './support/temp-dir.ts';

interface Given {
  /** Content of freshet.config.json in the working folder. */
  readonly file?: unknown;
  readonly env?: NodeJS.ProcessEnv;
  readonly flags?: Record<string, unknown>;
}

function load({ file, env = {}, flags = {} }: Given): Config & { readonly cwd: string } {
  const cwd = tempDir();
  if (file !== undefined) {
    writeFileSync(join(cwd, 'freshet.config.json'), typeof file === 'string' ? file : JSON.stringify(file));
  }
  return { ...loadConfig({ env, flags, cwd }), cwd };
}

function refused(given: Given): string {
  try {
    load(given);
  } catch (error) {
    if (error instanceof FreshetError) return `${error.code} ${error.detail}`;
    throw error;
  }
  return 'accepted';
}

describe('defaults', () => {
  it('are complete without file, environment and flags', () => {
    const { cwd, ...config } = load({});
    expect(config).toEqual({
      dataDir: join(cwd, '.freshet'),
      appId: 'freshet',
      brokers: [],
      registry: null,
      registryMode: 'register',
      registryAuth: { username: null, password: null, passwordFile: null, tokenFile: null },
      kafka: {
        clientId: 'freshet',
        tls: false,
        tlsCaFile: null,
        tlsCertFile: null,
        tlsKeyFile: null,
        tlsKeyPassphraseFile: null,
        saslMechanism: null,
        saslUsername: null,
        saslPassword: null,
        saslPasswordFile: null,
        sessionTimeoutMs: 30_000,
        heartbeatIntervalMs: 3_000,
        commitsAtOnce: 1,
        transactionTimeoutMs: 60_000,
        replicationFactor: -1,
        minInsyncReplicas: null,
        connectionTimeoutMs: 5_000,
        requestTimeoutMs: 30_000,
      },
      partitions: 8,
      actionTypes: ['view', 'like', 'bookmark', 'comment', 'follow', 'unlike', 'unbookmark', 'unfollow'],
      undo: { unlike: 'like', unbookmark: 'bookmark', unfollow: 'follow' },
      sequences: [{ name: 'engagement', actionTypes: 'all', windowSize: 100, sealSize: 32, maxAgeMs: null }],
      scoredSequence: 'engagement',
      counterHalfLivesMs: [86_400_000, 2_592_000_000],
      sessionGapMs: 1_800_000,
      maxFutureMs: 300_000,
      maxIdBytes: 256,
      maxSurfaceBytes: 64,
      commit: { intervalMs: 1000, maxRecords: 20_000, maxOutputBytes: 16_777_216 },
      emit: 'commit',
      workers: 1,
      standby: false,
      cacheUsers: 2_000,
      model: packagePath('models/intent'),
      http: { port: null, host: '127.0.0.1' },
      log: { level: 'info' },
    });
  });

  it('cannot be changed afterwards', () => {
    const { sequences } = load({}) as unknown as { sequences: { windowSize: number }[] };
    expect(() => (sequences[0]!.windowSize = 1)).toThrow(TypeError);
  });

  it('of undo are the pairs whose types are both configured', () => {
    expect(load({ flags: { actionTypes: 'view,like,unlike,unfollow' } }).undo).toEqual({ unlike: 'like' });
  });

  it('of an element of sequences apply to each element', () => {
    const { sequences } = load({ file: { sequences: [{ name: 'engagement' }, { name: 'b', windowSize: 7 }] } });
    expect(sequences[1]).toEqual({ name: 'b', actionTypes: 'all', windowSize: 7, sealSize: 32, maxAgeMs: null });
  });
});

describe('precedence', () => {
  it('is file, environment, flags, the last one winning, key by key', () => {
    const { commit } = load({
      file: { commit: { intervalMs: 1, maxRecords: 1, maxOutputBytes: 100_000 } },
      env: { FRESHET_COMMIT_INTERVAL_MS: '2', FRESHET_COMMIT_MAX_RECORDS: '2', OTHER: 'ignored' },
      flags: { commitIntervalMs: '3', commitMaxOutputBytes: undefined },
    });
    expect(commit).toEqual({ intervalMs: 3, maxRecords: 2, maxOutputBytes: 100_000 });
  });

  it('lets a flag correct an invalid value of the environment', () => {
    expect(load({ env: { FRESHET_PARTITIONS: 'many' }, flags: { partitions: 4 } }).partitions).toBe(4);
  });

  it('gives every key outside lists a variable and a flag that work, a secret no flag', () => {
    for (const key of CONFIG_KEYS.filter((each) => each.env !== null)) {
      const text = typeof key.default === 'string' ? key.default : JSON.stringify(key.default);
      const given = key.kind === 'text or null' ? '' : text;
      expect(refused({ env: { [key.env!]: given } }), key.path).toBe('accepted');
      if (key.secret) expect(key.attribute, key.path).toBeNull();
      else expect(refused({ flags: { [key.attribute!]: given } }), key.path).toBe('accepted');
    }
    expect(CONFIG_KEYS.filter(({ secret }) => secret).map(({ path }) => path)).toEqual([
      'registryAuth.password',
      'kafka.saslPassword',
    ]);
  });
});

describe('texts of variables and flags', () => {
  it('become lists by commas or as JSON', () => {
    expect(load({ env: { FRESHET_COUNTER_HALF_LIVES_MS: '5, 7' } }).counterHalfLivesMs).toEqual([5, 7]);
    expect(load({ env: { FRESHET_COUNTER_HALF_LIVES_MS: '[5, 7]' } }).counterHalfLivesMs).toEqual([5, 7]);
    expect(load({ flags: { actionTypes: 'a, b' } }).actionTypes).toEqual(['a', 'b']);
  });

  it('that are empty become null or an empty list, where the key may be that', () => {
    const env = { FRESHET_KAFKA_TLS_CA_FILE: '', FRESHET_BROKERS: '', FRESHET_KAFKA_SASL_MECHANISM: '' };
    const { brokers, kafka } = load({ env });
    expect([brokers, kafka.tlsCaFile, kafka.saslMechanism]).toEqual([[], null, null]);
  });

  it('stay texts where they look like numbers or null', () => {
    const env = { FRESHET_KAFKA_SASL_MECHANISM: 'plain', FRESHET_KAFKA_SASL_USERNAME: 'null' };
    const { kafka } = load({ env: { ...env, FRESHET_KAFKA_SASL_PASSWORD: '007' } });
    expect([kafka.saslUsername, kafka.saslPassword]).toEqual(['null', '007']);
  });

  it('become objects as JSON', () => {
    expect(load({ env: { FRESHET_UNDO: '{"unlike":"like"}' } }).undo).toEqual({ unlike: 'like' });
  });

  it('are paths relative to the working folder', () => {
    const { cwd, dataDir, model } = load({ flags: { dataDir: 'd', model: 'm' } });
    expect([dataDir, model]).toEqual([join(cwd, 'd'), join(cwd, 'm')]);
    expect(load({ flags: { dataDir: '/d' } }).dataDir).toBe('/d');
    const auth = load({ env: { FRESHET_REGISTRY_AUTH_TOKEN_FILE: 'token' } });
    expect(auth.registryAuth.tokenFile).toBe(join(auth.cwd, 'token'));
    const tls = load({ file: { kafka: { tls: true, tlsCaFile: '../ca.pem' } } });
    expect(tls.kafka.tlsCaFile).toBe(join(tls.cwd, '..', 'ca.pem'));
  });
});

describe('the file', () => {
  it('that was named must be there', () => {
    const missing = join(tmpdir(), 'freshet-no-such-file.json');
    expect(() => loadConfig({ file: missing, env: {}, flags: {}, cwd: '/' })).toThrow('freshet-no-such-file.json');
  });

  it('may have any name', () => {
    const cwd = tempDir();
    writeFileSync(join(cwd, 'my.json'), '{"appId":"mine"}');
    expect(loadConfig({ file: 'my.json', env: {}, flags: {}, cwd }).appId).toBe('mine');
  });

  it.each([
    ['{"appId":', 'CONFIG_INVALID file .* is not JSON: '],
    ['[]', 'CONFIG_INVALID file .* is not a JSON object'],
    ['{"commit":5}', 'CONFIG_INVALID commit: .*expected object.*given 5 \\(file .*freshet.config.json\\)'],
    ['{"__proto__":{"appId":"x"}}', 'CONFIG_UNKNOWN_KEY __proto__ in file .*freshet.config.json; the nearest'],
  ])('%s is refused', (file, message) => {
    expect(refused({ file })).toMatch(new RegExp(`^${message}`));
  });

  it('keeps its mistake in a group that a flag reaches into', () => {
    expect(refused({ file: { commit: 5 }, flags: { commitIntervalMs: 7 } })).toContain('commit: ');
  });
});

describe('a key that is not known is refused with the nearest known one', () => {
  it.each([
    [{ file: { partition: 8 } }, /^CONFIG_UNKNOWN_KEY partition in file .*; the nearest known one is partitions$/],
    [
      { file: { commit: { intervalMS: 8 } } },
      /commit\.intervalMS in file .*; the nearest known one is commit\.interval/,
    ],
    [
      { file: { sequences: [{ name: 'a', windowsize: 8 }] } },
      /sequences\[0\]\.windowsize in file .* sequences\[\]\.wi/,
    ],
    [
      { env: { FRESHET_COMIT_INTERVAL_MS: '8' } },
      /variable FRESHET_COMIT_INTERVAL_MS; the nearest known one is FRESHET_COMMIT_INTERVAL_MS$/,
    ],
    [{ flags: { dataDirectory: 'x' } }, /flag dataDirectory; the nearest known one is dataDir$/],
    [{ flags: { sequences: '[{"name":"a","K":1}]' } }, /sequences\[0\]\.K in flag --sequences; the nearest known one/],
  ])('%j', (given, message) => {
    expect(refused(given)).toMatch(message);
  });
});

describe('a value that is not valid is refused with its key, problem and source', () => {
  it.each([
    [
      { env: { FRESHET_PARTITIONS: '8x' } },
      /partitions: .*expected number.*given "8x" \(environment variable FRESHET_P/,
    ],
    [{ env: { FRESHET_PARTITIONS: '' } }, /partitions: /],
    [{ flags: { partitions: '0' } }, /partitions: .*>=1, given 0 \(flag --partitions\)$/],
    [{ flags: { partitions: '1025' } }, /partitions: .*<=1024/],
    [{ flags: { partitions: '1.5' } }, /partitions: .*int/],
    [{ file: { appId: 'a b' } }, /appId: must match .*given "a b" \(file .*freshet\.config\.json\)$/],
    [{ file: { sequences: [{ name: 'Engagement' }] } }, /sequences\[0\]\.name: must match .*\(file /],
    [
      { file: { sequences: [{ name: 'a', actionTypes: 'view' }] } },
      /sequences\[0\]\.actionTypes: .*"all".* or .*array/,
    ],
    [{ file: { sequences: [{ name: 'a', windowSize: 10_001 }] } }, /sequences\[0\]\.windowSize: .*<=10000/],
    [{ file: { sequences: [] } }, /sequences: /],
    [{ file: { log: { level: 'loud' } } }, /log\.level: .*"info".*given "loud"/],
    [{ flags: { counterHalfLivesMs: '5,x' } }, /counterHalfLivesMs\[1\]: .*given "x" \(flag --counter-half-lives-ms\)/],
    [{ flags: { counterHalfLivesMs: '5,5' } }, /counterHalfLivesMs: names a half-life twice/],
    [{ flags: { undo: 'unlike=like' } }, /undo: .*expected record/],
    [{ file: { maxIdBytes: 'x'.repeat(1000) } }, /given "x{59}… \(file/],
  ])('%j', (given, message) => {
    expect(refused(given)).toMatch(message);
    expect(refused(given)).toMatch(/^CONFIG_INVALID /);
  });
});

describe('keys must agree with each other', () => {
  const sequences = (...list: object[]): Given => ({ file: { sequences: list } });
  it.each([
    ['a type in no sequence', sequences({ name: 'engagement', actionTypes: ['view'] }), /no sequence takes .*"like"/],
    ['an unknown type', sequences({ name: 'engagement', actionTypes: ['buy'] }), /sequences\[0\]\.actionTypes: "buy"/],
    ['two of one name', sequences({ name: 'engagement' }, { name: 'engagement' }), /have the same name/],
    ['no scored one', sequences({ name: 'other' }), /scoredSequence: "engagement" is not .* \(other\).*\(default\)$/],
    ['an unknown undo', { file: { undo: { hide: 'view' } } }, /undo: "hide" is not one of actionTypes/],
    ['an undo of an unknown', { file: { undo: { view: 'hide' } } }, /undo: "hide" is not one of actionTypes/],
    ['an undo of an undo', { file: { undo: { unlike: 'like', view: 'unlike' } } }, /"view" undoes "unlike", which/],
    ['an undo of itself', { file: { undo: { like: 'like' } } }, /"like" undoes "like", which/],
    ['a type twice', { flags: { actionTypes: 'a,b,a' } }, /actionTypes: names a type twice/],
  ])('%s', (_, given, message) => {
    expect(refused(given)).toMatch(message);
  });

  const on = (kafka: object): Given => ({ file: { brokers: ['a:1'], registry: 'http://r', kafka } });
  const scram = { saslMechanism: 'scram-sha-512', saslUsername: 'u' };
  it.each([
    ['brokers without port', { flags: { brokers: 'a' } }, /brokers\[0\]: must be host:port, given "a" \(flag/],
    ['brokers without registry', { flags: { brokers: 'a:1,b:2' } }, /registry: is needed with brokers: give the URL/],
    [
      'a registry without brokers',
      { flags: { registry: 'http://r' } },
      /registry: does nothing without .*give brokers/,
    ],
    ['a registry that is no URL', { flags: { brokers: 'a:1', registry: 'r:8081' } }, /registry: must be an http/],
    ['workers without brokers', { flags: { workers: 2 } }, /workers: must be 1 without brokers: the embedded log/],
    ['standby without brokers', { flags: { standby: 'true' } }, /standby: does nothing without brokers/],
    ['a CA without TLS', on({ tlsCaFile: 'f' }), /kafka\.tlsCaFile: does nothing without kafka\.tls=true/],
    ['a key without certificate', on({ tls: true, tlsKeyFile: 'f' }), /tlsKeyFile: needs kafka\.tlsCertFile/],
    ['a certificate without key', on({ tls: true, tlsCertFile: 'f' }), /tlsCertFile: needs kafka\.tlsKeyFile/],
    ['a passphrase alone', on({ tls: true, tlsKeyPassphraseFile: 'f' }), /PassphraseFile: needs kafka\.tlsKeyFile/],
    ['another mechanism', on({ ...scram, saslMechanism: 'scram' }), /saslMechanism: .*"scram-sha-256".*given "scram"/],
    [
      'SASL without user',
      on({ saslMechanism: 'plain', saslPassword: 'p' }),
      /saslMechanism: needs kafka\.saslUsername/,
    ],
    ['SASL without password', on(scram), /saslMechanism: needs kafka\.saslPasswordFile, or kafka\.saslPassword/],
    ['two passwords', on({ ...scram, saslPassword: 'p', saslPasswordFile: 'f' }), /PasswordFile: cannot be given tog/],
    ['a user without mechanism', on({ saslUsername: 'u' }), /saslUsername: does nothing without kafka\.saslMechanism/],
    ['slow heartbeats', on({ heartbeatIntervalMs: 10_001 }), /heartbeatIntervalMs: must be at most a third/],
    ['slow requests', on({ requestTimeoutMs: 60_001 }), /requestTimeoutMs: must be at most kafka\.transactionTim/],
    ['no replica', on({ replicationFactor: 0 }), /replicationFactor: must be -1 or at least 1/],
    ['too many in sync', on({ replicationFactor: 2, minInsyncReplicas: 3 }), /minInsyncReplicas: must be at most/],
    ['registry: a user alone', { file: { registryAuth: { username: 'u' } } }, /username: needs registryAuth\.password/],
    ['registry: a password alone', { file: { registryAuth: { password: 'p' } } }, /password: needs registryAuth\.user/],
    ['registry: a file alone', { file: { registryAuth: { passwordFile: 'p' } } }, /passwordFile: needs registryAuth/],
    [
      'registry: two passwords',
      { file: { registryAuth: { username: 'u', password: 'p', passwordFile: 'f' } } },
      /passwordFile: cannot be given together with registryAuth\.password/,
    ],
    [
      'registry: two ways',
      { file: { registryAuth: { username: 'u', password: 'p', tokenFile: 'f' } } },
      /tokenFile: cannot be given together with registryAuth\.username/,
    ],
  ])('connection: %s', (_, given, message) => {
    expect(refused(given)).toMatch(message);
  });

  it('a whole connection is accepted', () => {
    const tls = { tls: true, tlsCaFile: 'a', tlsCertFile: 'b', tlsKeyFile: 'c', tlsKeyPassphraseFile: 'd' };
    expect(refused(on({ ...tls, ...scram, saslPasswordFile: 'e', replicationFactor: 3, minInsyncReplicas: 2 }))).toBe(
      'accepted',
    );
  });

  it('names like methods of objects are names like any other', () => {
    const given = { actionTypes: ['constructor', 'view'], undo: { constructor: 'view' } };
    expect(load({ file: given }).undo).toEqual({ constructor: 'view' });
  });
});

describe('secrets', () => {
  const SECRET = 'tr0ub4dor';
  const sasl = { saslMechanism: 'plain', saslUsername: 'u', saslPassword: SECRET };

  it('are in the configuration and not in its print', () => {
    const registryAuth = { username: 'u', password: SECRET };
    const config = load({ file: { brokers: ['a:1'], registry: 'http://r', kafka: sasl, registryAuth } });
    expect([config.kafka.saslPassword, config.registryAuth.password]).toEqual([SECRET, SECRET]);
    expect(withoutSecrets(config)).not.toContain(SECRET);
    expect(JSON.parse(withoutSecrets(config, 2))).toMatchObject({
      kafka: { saslUsername: 'u', saslPassword: '***', saslPasswordFile: null },
      registryAuth: { password: '***' },
    });
  });

  it.each([
    ['of another type', { file: { kafka: { ...sasl, saslPassword: [SECRET] } } }],
    ['in a group of another type', { file: { kafka: [sasl] } }],
    ['in a URL', { flags: { registry: `http://u:${SECRET}@r` } }],
    ['without brokers, in a URL', { file: { brokers: [`u:${SECRET}@a:1`] } }],
    ['twice', { file: { kafka: { ...sasl, saslPasswordFile: 'f' } } }],
    ['in a file with a slip', { file: `{"kafka":{"saslPassword":"${SECRET}"x}}` }],
    ['in a file with a short slip', { file: `{"p":"${SECRET}",}` }],
    ['in a file that is no JSON', { file: SECRET }],
  ])('are not in the refusal of one %s', (_, given) => {
    expect(refused(given)).toMatch(/^CONFIG_INVALID /);
    expect(refused(given)).not.toContain(SECRET);
  });
});

describe('the documentation of the keys', () => {
  it('describes every key and every default of the configuration', () => {
    for (const key of CONFIG_KEYS) expect(key.description, key.path).toMatch(/^[A-Z].*\.$/);
    const leaves = Object.entries(load({})).flatMap(([name, value]) =>
      ['commit', 'http', 'kafka', 'log', 'registryAuth'].includes(name)
        ? Object.keys(value as object).map((inner) => `${name}.${inner}`)
        : [name],
    );
    const documented = CONFIG_KEYS.filter((key) => key.env !== null).map((key) => key.path);
    expect(documented.sort()).toEqual(leaves.filter((name) => name !== 'cwd').sort());
  });

  it('is a Markdown table with a row for each key', () => {
    const rows = configurationTable().split('\n');
    expect(rows).toHaveLength(CONFIG_KEYS.length + 2);
    for (const row of rows) expect(row.match(/(?<!\\)\|/g), row).toHaveLength(7);
    expect(rows).toContainEqual(
      expect.stringMatching(/`commit\.intervalMs` \| integer 1–600000 \| `1000` \| `FRESHET_C/),
    );
  });
});

describe('nearest', () => {
  it('is a metric: zero for equal words, symmetric, with the triangle inequality', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        expect(editDistance(a, a)).toBe(0);
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
        if (a !== b) expect(editDistance(a, b)).toBeGreaterThan(0);
      }),
      { numRuns: 1000 },
    );
  });

  it('counts insertions, deletions and substitutions', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(nearest('INTERVALMS', ['commit', 'intervalMs'])).toBe('intervalMs');
    expect(nearest('x', [])).toBeUndefined();
  });
});
