/** The connection to a secured broker: TLS, client certificates, SASL; what fails says why, and no secret is in a log. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { FreshetError, type ErrorCode } from '../src/base/errors.ts';
import { createLogger } from '../src/base/logger.ts';
import type { ListenerKind } from '../src/local-kafka/listeners.ts';
import type { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { withAdmin } from '../src/log/kafka-admin.ts';
import { openKafkaLog } from '../src/log/kafka.ts';
import { freshet, logLines } from './support/cli.ts';
import { startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const USER = 'freshet-user';
const PASSWORD = 'c0rrect-h0rse;"b4ttery\\';
const PASSPHRASE = 'st4ple-passphrase';
/** pino's number. */
const ERROR_LEVEL = 50;
const folder = tempDir();

let kafka: LocalKafka;
let ca: string;
/** An encrypted copy of the client's key. */
let encryptedKey: string;
const servers: Server[] = [];

beforeAll(async () => {
  kafka = await startOwnKafka({
    security: {
      listeners: ['sasl-tls', 'tls', 'mtls', 'sasl', 'plain'],
      users: [{ username: USER, password: PASSWORD }],
    },
  });
  ca = kafka.tls!.caFile;
  encryptedKey = join(folder, 'encrypted.key');
  const passphrase = ['-passout', `file:${file('passphrase', PASSPHRASE)}`];
  openssl('pkcs8', '-topk8', '-in', kafka.tls!.clientKeyFile, '-out', encryptedKey, ...passphrase);
}, 240_000);

afterAll(() => {
  for (const server of servers) server.close();
});

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

const configOf = (brokers: string, keys: object): Config =>
  loadConfig({
    file: file('config.json', JSON.stringify({ brokers: [brokers], registry: 'http://127.0.0.1:9', kafka: keys })),
    env: {},
    flags: {},
    cwd: folder,
  });

const at = (listener: ListenerKind): string => kafka.listeners[listener]!;
const sasl = (more: object = {}): object => ({
  ...{ tls: true, tlsCaFile: ca, saslMechanism: 'scram-sha-512', saslUsername: USER, saslPassword: PASSWORD },
  ...more,
});

/** Uses both ways to the brokers, the log's and the administrator's; everything that they log, at the lowest level. */
async function use(brokers: string, keys: object): Promise<{ logged: string; errors: FreshetError[] }> {
  const lines: string[] = [];
  const logger = createLogger('trace', { write: (line) => void lines.push(line) });
  const config = configOf(brokers, keys);
  const errors: FreshetError[] = [];
  const attempt = async (run: () => Promise<unknown>): Promise<void> => {
    try {
      await run();
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
      logger.error({ err: error }, 'refused');
      errors.push(error);
    }
  };
  await attempt(() => withAdmin(config, logger, (admin) => admin.listTopics()));
  await attempt(async () => {
    const log = openKafkaLog(config, logger, { patienceMs: 1_000 });
    try {
      await log.topics();
    } finally {
      await log.close();
    }
  });
  return { logged: lines.join(''), errors };
}

/** That both ways fail with this code; returns what a person is told. */
async function refused(brokers: string, keys: object, code: ErrorCode): Promise<string> {
  const { errors, logged } = await use(brokers, keys);
  expect(errors.map((error) => error.code)).toEqual([code, code]);
  expectNoSecret(logged);
  return errors.map(({ message, remedy }) => `${message} ${remedy}`).join('\n');
}

function expectNoSecret(text: string): void {
  const inJson = JSON.stringify(PASSWORD).slice(1, -1);
  const keyLines = readFileSync(kafka.tls!.clientKeyFile, 'utf8').split('\n').slice(1, 3);
  const base64 = Buffer.from(`\0${USER}\0${PASSWORD}`).toString('base64');
  for (const secret of [PASSWORD, inJson, PASSPHRASE, base64, ...keyLines]) expect(text).not.toContain(secret);
}

describe('a connection is made', () => {
  it.each([
    ['by TLS', 'tls', () => ({ tls: true, tlsCaFile: ca })],
    ['by a client certificate', 'mtls', () => mtls(kafka.tls!.clientKeyFile)],
    [
      'by a client certificate with an encrypted key',
      'mtls',
      () => ({ ...mtls(encryptedKey), tlsKeyPassphraseFile: join(folder, 'passphrase') }),
    ],
    ['by SASL PLAIN over TLS', 'sasl-tls', () => sasl({ saslMechanism: 'plain' })],
    ['by SCRAM-SHA-256 over TLS', 'sasl-tls', () => sasl({ saslMechanism: 'scram-sha-256' })],
    ['by SCRAM-SHA-512 over TLS', 'sasl-tls', () => sasl()],
    [
      'by a password from a file, with a line break at its end',
      'sasl-tls',
      () => sasl({ saslPassword: null, saslPasswordFile: file('password', `${PASSWORD}\n`) }),
    ],
    ['by SCRAM-SHA-512 without TLS', 'sasl', () => sasl({ tls: false, tlsCaFile: null })],
  ] as const)('%s, and no log line holds a secret', async (_, listener, keys) => {
    const { errors, logged } = await use(at(listener), keys());
    expect(errors).toEqual([]);
    expect(logged).toContain('Connecting');
    expectNoSecret(logged);
  });
});

const mtls = (tlsKeyFile: string): object => ({
  ...{ tls: true, tlsCaFile: ca, tlsKeyFile },
  tlsCertFile: kafka.tls!.clientCertFile,
});

describe('a connection that is refused says why', () => {
  it.each([
    ['a wrong password', () => sasl({ saslPassword: 'wrong' })],
    ['a wrong password, PLAIN', () => sasl({ saslPassword: 'wrong', saslMechanism: 'plain' })],
    ['an unknown user', () => sasl({ saslUsername: 'nobody' })],
  ])('%s', async (_, keys) => {
    expect(await refused(at('sasl-tls'), keys(), 'KAFKA_AUTHENTICATION')).toContain('Check kafka.saslMechanism');
  });

  it('another authority', async () => {
    const other = authority('other');
    const told = await refused(at('tls'), { tls: true, tlsCaFile: other.cert }, 'KAFKA_TLS');
    expect(told).toMatch(/unable to verify|self-signed|unable to get/i);
    expect(told).toContain('kafka.tlsCaFile');
  });

  it('no authority given, where Node.js knows none that signed', async () => {
    await refused(at('tls'), { tls: true }, 'KAFKA_TLS');
  });

  it('a name that is not in the certificate', async () => {
    const proxied = await proxyTo(at('tls'));
    const told = await refused(proxied, { tls: true, tlsCaFile: ca }, 'KAFKA_TLS');
    expect(told).toContain('127.0.0.2 is not in the cert');
  });

  it('a certificate that has expired', async () => {
    const own = authority('own');
    const told = await refused(await expiredServer(own), { tls: true, tlsCaFile: own.cert }, 'KAFKA_TLS');
    expect(told).toContain('certificate has expired');
  });

  it('no client certificate where one is needed', async () => {
    const told = await refused(at('mtls'), { tls: true, tlsCaFile: ca }, 'KAFKA_TLS');
    expect(told).toContain('client certificate');
  });

  it.each([
    ['TLS where the broker does not speak it', 'plain', { tls: true }],
    ['no TLS where the broker speaks it', 'tls', {}],
    ['no SASL where the broker asks for it', 'sasl', {}],
  ] as const)('%s: the broker hangs up, as one does that goes down', async (_, listener, keys) => {
    expect(await refused(at(listener), keys, 'LOG_UNAVAILABLE')).toMatch(/Closed connection|secure TLS connection/);
  });

  it('on the command line too: code, remedy and exit code, and no secret at the lowest level', async () => {
    const env = { FRESHET_KAFKA_SASL_PASSWORD: `${PASSWORD}!`, KAFKAJS_DEBUG_PROTOCOL_BUFFERS: '1' };
    const flags = ['--kafka-tls=true', `--kafka-tls-ca-file=${ca}`, '--kafka-sasl-mechanism=plain'];
    const result = await freshet(
      [
        ...['topics', 'plan', `--brokers=${at('sasl-tls')}`, '--registry=http://127.0.0.1:9', '--log-level=trace'],
        ...[...flags, `--kafka-sasl-username=${USER}`],
      ],
      { env },
    );
    expect(result.exitCode).toBe(4);
    const lines = logLines(result);
    const told = lines.filter(({ code, level }) => code === 'KAFKA_AUTHENTICATION' && level === ERROR_LEVEL);
    expect(told.map(({ remedy }) => remedy)).toEqual([expect.stringContaining('kafka.saslUsername')]);
    expect(lines.filter(({ level }) => level < ERROR_LEVEL).length).toBeGreaterThan(3);
    expectNoSecret(result.stderr + result.stdout);
  });
});

describe('what is wrong with the files is said before a connection is made', () => {
  const wrong = (keys: object): string => {
    try {
      openKafkaLog(configOf('127.0.0.1:9', { tls: true, ...keys }), createLogger('silent'));
    } catch (error) {
      if (error instanceof FreshetError) return `${error.code} ${error.detail}`;
      throw error;
    }
    return 'accepted';
  };

  it.each([
    [
      'an absent file',
      () => ({ tlsCaFile: 'nowhere.pem' }),
      /^FILE_NOT_FOUND .*nowhere\.pem, given as kafka\.tlsCaFile$/,
    ],
    [
      'an empty file',
      () => ({ tlsCaFile: file('empty', '') }),
      /^CONFIG_INVALID kafka\.tlsCaFile: the file .* is empty$/,
    ],
    [
      'no certificate',
      () => ({ tlsCaFile: file('text', 'PEM') }),
      /^CONFIG_INVALID kafka\.tlsCaFile: .* no PEM certific/,
    ],
    [
      'the key of another certificate',
      () => ({ ...mtls(authority('another').key) }),
      /^CONFIG_INVALID kafka\.tlsKeyFile: .*key values mismatch/,
    ],
    ['a passphrase that is missing', () => mtls(encryptedKey), /^CONFIG_INVALID kafka\.tlsKeyFile: .*PassphraseFile/],
    [
      'a wrong passphrase',
      () => ({ ...mtls(encryptedKey), tlsKeyPassphraseFile: file('wrong', 'wrong') }),
      /^CONFIG_INVALID kafka\.tlsKeyFile: .*PassphraseFile/,
    ],
    [
      'a password file of a line break',
      () => sasl({ saslPassword: null, saslPasswordFile: file('blank', '\n') }),
      /^CONFIG_INVALID kafka\.saslPasswordFile: the file .* is empty$/,
    ],
  ])('%s', (_, keys, message) => {
    expect(wrong(keys())).toMatch(message);
  });
});

/** A certificate authority of its own. */
function authority(name: string): { cert: string; key: string } {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key);
  openssl('req', '-x509', '-new', '-key', key, '-days', '2', '-subj', `/CN=${name}`, '-out', cert);
  return { cert, key };
}

/** Where a certificate is shown that was signed by `signer` and is no longer valid. */
async function expiredServer(signer: { cert: string; key: string }): Promise<string> {
  const [key, request, cert] = ['key', 'csr', 'pem'].map((ending) => join(folder, `expired.${ending}`)) as [
    string,
    string,
    string,
  ];
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key);
  openssl('req', '-new', '-key', key, '-subj', '/CN=localhost', '-out', request);
  const names = file('names', 'subjectAltName=IP:127.0.0.1\n');
  const sign = ['-CA', signer.cert, '-CAkey', signer.key, '-CAcreateserial', '-extfile', names];
  openssl('x509', '-req', '-in', request, ...sign, '-days', '-1', '-out', cert);
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) });
  return listen(server, '127.0.0.1');
}

/** The same listener under an address that its certificate does not name. */
async function proxyTo(address: string): Promise<string> {
  const [host, port] = address.split(':') as [string, string];
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    client.pipe(upstream).on('error', () => client.destroy());
    upstream.pipe(client).on('error', () => upstream.destroy());
  });
  return listen(server, '127.0.0.2');
}

async function listen(server: Server, host: string): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `${host}:${(server.address() as AddressInfo).port}`;
}
