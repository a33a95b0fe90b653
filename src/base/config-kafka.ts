/** The configuration keys of the connection to Kafka and to the schema registry, and what must hold between them. */
import { z } from 'zod';

const integer = (least: number, most: number) => z.int().min(least).max(most);
const timeMs = integer(1, 3_600_000);
const text = z.string().min(1).nullable().default(null);
/** A file that is read when the connection is made; its path is relative to the working folder. */
const file = (description: string) => text.meta({ description });
/** Has no flag, since other users of a machine see the flags of a process, and is never printed. */
const secret = (description: string) => text.meta({ description, secret: true });

export const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

export const kafkaKeys = {
  brokers: z
    // kafkajs splits at the first colon, so IPv6 addresses need a name.
    .array(z.string().regex(/^[A-Za-z0-9._-]+:\d{1,5}$/, 'must be host:port'))
    .max(100)
    .default([])
    .meta({ description: 'Kafka brokers to start from, host:port. None: the embedded log in `dataDir`.' }),
  registry: z
    .string()
    .regex(/^https?:\/\/[^/@\s?#]+(\/[^@\s?#]*)?$/, 'must be an http or https URL without credentials')
    .nullable()
    .default(null)
    .meta({ description: 'URL of the schema registry; needed with `brokers`, and only then.' }),
  registryMode: z.enum(['register', 'lookup']).default('register').meta({
    description: 'Whether schemas that the registry lacks are registered, or must be there.',
  }),
  registryAuth: z
    .strictObject({
      username: text.meta({ description: 'User at the registry (HTTP basic authentication).' }),
      password: secret('Password at the registry.'),
      passwordFile: file('File that holds the password at the registry.'),
      tokenFile: file('File that holds a bearer token for the registry, instead of user and password.'),
    })
    .prefault({}),
  kafka: z
    .strictObject({
      clientId: z
        .string()
        .regex(/^[A-Za-z0-9._-]{1,100}$/, 'must match /^[A-Za-z0-9._-]{1,100}$/')
        .default('freshet')
        .meta({ description: 'Names the client in the logs, metrics and quotas of the brokers.' }),
      tls: z.boolean().default(false).meta({ description: 'Whether connections to the brokers are encrypted.' }),
      tlsCaFile: file('PEM file of the authorities that sign for brokers. Null: those that Node.js trusts.'),
      tlsCertFile: file("PEM file of this client's certificate, with the chain, for mutual TLS."),
      tlsKeyFile: file("PEM file of this client's private key."),
      tlsKeyPassphraseFile: file("File that holds the passphrase of this client's private key."),
      saslMechanism: z.enum(SASL_MECHANISMS).nullable().default(null).meta({
        description: 'How the client says who it is, besides a certificate. Use `plain` with TLS only.',
      }),
      saslUsername: text.meta({ description: 'SASL user.' }),
      saslPassword: secret('SASL password.'),
      saslPasswordFile: file('File that holds the SASL password.'),
      sessionTimeoutMs: timeMs.default(30_000).meta({
        description: 'A worker not heard of for this long loses its partitions to the others.',
      }),
      heartbeatIntervalMs: timeMs.default(3_000).meta({ description: 'How often a worker is heard of.' }),
      commitsAtOnce: integer(1, 64).default(1).meta({
        description:
          'Commits of a worker in the making at a time; each holds its records and outputs in memory. More keep cores busy where brokers are far away.',
      }),
      transactionTimeoutMs: timeMs.default(60_000).meta({
        description: 'The broker aborts a transaction that is open for longer. At most its transaction.max.timeout.ms.',
      }),
      replicationFactor: integer(-1, 100).default(-1).meta({
        description: 'Replicas of the topics that Freshet creates; -1: as many as the brokers give by default.',
      }),
      minInsyncReplicas: integer(1, 100).nullable().default(null).meta({
        description: 'Replicas that must have a write before it counts; null: what the brokers have by default.',
      }),
      connectionTimeoutMs: timeMs.default(5_000).meta({ description: 'How long a connection may take to be made.' }),
      requestTimeoutMs: timeMs.default(30_000).meta({ description: 'How long a broker may take to answer.' }),
    })
    .prefault({}),
};

type Values = z.output<z.ZodObject<typeof kafkaKeys>>;
type Problem = (path: string[], message: string) => void;

export function checkKafka(values: Values, problem: Problem): void {
  checkPresence(values, problem);
  checkTls(values.kafka, problem);
  checkSasl(values.kafka, problem);
  checkRegistryAuth(values.registryAuth, problem);
  const { heartbeatIntervalMs, sessionTimeoutMs, requestTimeoutMs, transactionTimeoutMs } = values.kafka;
  if (heartbeatIntervalMs * 3 > sessionTimeoutMs) {
    problem(['kafka', 'heartbeatIntervalMs'], 'must be at most a third of kafka.sessionTimeoutMs');
  }
  if (requestTimeoutMs > transactionTimeoutMs) {
    problem(['kafka', 'requestTimeoutMs'], 'must be at most kafka.transactionTimeoutMs');
  }
  const { replicationFactor, minInsyncReplicas } = values.kafka;
  if (replicationFactor === 0) problem(['kafka', 'replicationFactor'], 'must be -1 or at least 1');
  if (replicationFactor > 0 && minInsyncReplicas !== null && minInsyncReplicas > replicationFactor) {
    problem(['kafka', 'minInsyncReplicas'], 'must be at most kafka.replicationFactor, or nothing can be written');
  }
}

function checkPresence({ brokers, registry }: Values, problem: Problem): void {
  if (brokers.length === 0 && registry !== null) {
    problem(
      ['registry'],
      'does nothing without brokers, as the embedded log keeps its schemas in dataDir: give brokers, or no registry',
    );
  }
  if (brokers.length > 0 && registry === null) {
    problem(['registry'], 'is needed with brokers: give the URL of the schema registry that their clients use');
  }
}

function checkTls(kafka: Values['kafka'], problem: Problem): void {
  for (const name of ['tlsCaFile', 'tlsCertFile', 'tlsKeyFile', 'tlsKeyPassphraseFile'] as const) {
    if (kafka[name] !== null && !kafka.tls) problem(['kafka', name], 'does nothing without kafka.tls=true');
  }
  if (kafka.tlsKeyFile !== null && kafka.tlsCertFile === null) {
    problem(['kafka', 'tlsKeyFile'], 'needs kafka.tlsCertFile, the certificate of this key');
  }
  if (kafka.tlsCertFile !== null && kafka.tlsKeyFile === null) {
    problem(['kafka', 'tlsCertFile'], 'needs kafka.tlsKeyFile, the key of this certificate');
  }
  if (kafka.tlsKeyPassphraseFile !== null && kafka.tlsKeyFile === null) {
    problem(['kafka', 'tlsKeyPassphraseFile'], 'needs kafka.tlsKeyFile');
  }
}

function checkSasl(kafka: Values['kafka'], problem: Problem): void {
  const { saslMechanism, saslUsername, saslPassword, saslPasswordFile } = kafka;
  if (saslPassword !== null && saslPasswordFile !== null) {
    problem(['kafka', 'saslPasswordFile'], 'cannot be given together with kafka.saslPassword');
  }
  if (saslMechanism === null) {
    for (const name of ['saslUsername', 'saslPassword', 'saslPasswordFile'] as const) {
      if (kafka[name] !== null) problem(['kafka', name], 'does nothing without kafka.saslMechanism');
    }
    return;
  }
  if (saslUsername === null) problem(['kafka', 'saslMechanism'], 'needs kafka.saslUsername');
  if (saslPassword === null && saslPasswordFile === null) {
    problem(['kafka', 'saslMechanism'], 'needs kafka.saslPasswordFile, or kafka.saslPassword');
  }
}

function checkRegistryAuth(auth: Values['registryAuth'], problem: Problem): void {
  const { username, password, passwordFile, tokenFile } = auth;
  if (password !== null && passwordFile !== null) {
    problem(['registryAuth', 'passwordFile'], 'cannot be given together with registryAuth.password');
  }
  if (tokenFile !== null && username !== null) {
    problem(['registryAuth', 'tokenFile'], 'cannot be given together with registryAuth.username');
  }
  const hasPassword = password !== null || passwordFile !== null;
  if (username !== null && !hasPassword) {
    problem(['registryAuth', 'username'], 'needs registryAuth.passwordFile, or registryAuth.password');
  }
  if (username === null && hasPassword) {
    problem(['registryAuth', password === null ? 'passwordFile' : 'password'], 'needs registryAuth.username');
  }
}
