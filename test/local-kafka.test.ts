/** The local Kafka and registry that tests, `npm run kafka` and the demo start: real ones, that end when they should. */
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Kafka, logLevel, type Admin, type KafkaConfig } from 'kafkajs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { CLIENT_NAME, createCertificates } from '../src/local-kafka/certificates.ts';
import { formatFolder } from '../src/local-kafka/format.ts';
import { LocalKafka } from '../src/local-kafka/local-kafka.ts';
import { freePort } from '../src/local-kafka/ports.ts';
import { brokerAnswers, registryAnswers } from '../src/local-kafka/readiness.ts';
import { startOwnKafka } from './support/kafka.ts';
import { processesNaming } from './support/processes.ts';
import { tempDir } from './support/temp-dir.ts';

/** The first start on a machine downloads. */
const FIRST_START_MS = 300_000;

const client = (config: KafkaConfig): Kafka =>
  new Kafka({ logLevel: logLevel.NOTHING, retry: { retries: 8 }, ...config });

async function withAdmin<T>(config: KafkaConfig, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = client(config).admin();
  try {
    await admin.connect();
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

const topicsOf = async (config: KafkaConfig): Promise<string[]> => withAdmin(config, (admin) => admin.listTopics());

const createTopic = async (config: KafkaConfig, topic: string): Promise<void> => {
  await withAdmin(config, (admin) => admin.createTopics({ topics: [{ topic, numPartitions: 2 }] }));
};

describe('a local Kafka with a registry', () => {
  let kafka: LocalKafka;
  let brokers: string[];
  const port = (): number => Number(brokers[0]!.split(':')[1]);
  /** Asked until the partitions have leaders again: a broker answers before that. */
  const endOffset = async (topic: string): Promise<number> =>
    vi.waitFor(
      async () => {
        const offsets = await withAdmin({ brokers }, (admin) => admin.fetchTopicOffsets(topic));
        return offsets.reduce((sum, { high }) => sum + Number(high), 0);
      },
      { timeout: 30_000, interval: 100 },
    );

  async function produce(topic: string): Promise<void> {
    const producer = client({ brokers }).producer();
    await producer.connect();
    await producer.send({ topic, acks: -1, messages: [{ key: 'k', value: 'v' }] });
    await producer.disconnect();
  }

  beforeAll(async () => {
    kafka = await startOwnKafka({ registry: true, kafkaVersion: '4.1.0' });
    brokers = [...kafka.brokers];
    await createTopic({ brokers }, 'kept');
    await produce('kept');
  }, FIRST_START_MS);

  it('answers as soon as it is started, on the loopback address alone', async () => {
    expect(kafka.brokers).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
    expect(kafka.listeners).toEqual({ plain: kafka.brokers[0] });
    expect(kafka.admin).toEqual({ brokers: kafka.brokers, credentials: null });
    expect(await brokerAnswers(port())).toBe(true);
    expect(await registryAnswers(kafka.registry!)).toBe(true);
    expect(await endOffset('kept')).toBe(1);
  });

  it('creates no topic that nobody declared', async () => {
    const producer = client({ brokers, retry: { retries: 0 } }).producer({ allowAutoTopicCreation: true });
    await producer.connect();
    await expect(producer.send({ topic: 'undeclared', messages: [{ value: 'v' }] })).rejects.toThrow(/topic-partition/);
    await producer.disconnect();
    expect(await topicsOf({ brokers })).not.toContain('undeclared');
  });

  it('lets groups have session time-outs of a second', async () => {
    const consumer = client({ brokers }).consumer({ groupId: 'short', sessionTimeout: 1_000, heartbeatInterval: 300 });
    await consumer.connect();
    await consumer.subscribe({ topic: 'kept', fromBeginning: true });
    const value = new Promise<string>((resolve) => {
      void consumer.run({ eachMessage: async ({ message }) => resolve(message.value!.toString()) });
    });
    expect(await value).toBe('v');
    await consumer.disconnect();
  });

  it('comes back from a clean stop on the same port with the same data', async () => {
    await kafka.stopBroker();
    expect(kafka.brokerPid).toBeUndefined();
    expect(existsSync(`${kafka.dataDir}/kafka/.kafka_cleanshutdown`)).toBe(true);
    expect(await brokerAnswers(port())).toBe(false);
    await kafka.startBroker();
    expect(await endOffset('kept')).toBe(1);
  });

  it('comes back from a kill on the same port with the same data', async () => {
    await kafka.kill9();
    expect(kafka.brokerPid).toBeUndefined();
    expect(existsSync(`${kafka.dataDir}/kafka/.kafka_cleanshutdown`)).toBe(false);
    await kafka.startBroker();
    await produce('kept');
    expect(await endOffset('kept')).toBe(2);
  });

  it('answers nothing while it is paused, and goes on afterwards', async () => {
    kafka.pauseBroker();
    try {
      // The signal takes a moment to reach every thread of the broker.
      await expect.poll(() => brokerAnswers(port()), { timeout: 10_000 }).toBe(false);
    } finally {
      kafka.resumeBroker();
    }
    expect(await endOffset('kept')).toBe(2);
  });

  it('keeps schemas and their ids over a stop of the registry', async () => {
    const schemas = `${kafka.registry}/subjects/s-value/versions`;
    const body = JSON.stringify({ schema: '{"type":"record","name":"R","fields":[]}' });
    const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
    const registered = (await (await fetch(schemas, { method: 'POST', headers, body })).json()) as { id: number };
    await kafka.stopRegistry();
    expect(await registryAnswers(kafka.registry!)).toBe(false);
    await kafka.startRegistry();
    const found = (await (await fetch(`${schemas}/latest`)).json()) as { id: number };
    expect(registered.id).toBeGreaterThan(0);
    expect(found.id).toBe(registered.id);
  });

  it('has its folder for itself', async () => {
    const second = LocalKafka.start({ dataDir: kafka.dataDir, quick: true, registry: false });
    await expect(second).rejects.toMatchObject({ code: 'DATA_DIR_IN_USE' });
    expect(await endOffset('kept')).toBe(2);
  });

  it('takes its processes and its temporary folder along when it is stopped, paused or not', async () => {
    expect(processesNaming(kafka.dataDir)).not.toEqual([]);
    kafka.pauseBroker();
    await kafka.stop();
    expect(processesNaming(kafka.dataDir)).toEqual([]);
    expect(existsSync(kafka.dataDir)).toBe(false);
  });
});

it('starts once more when a port that was free is taken before the broker has it', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const controller = `127.0.0.1:${await freePort()}`;
  const progress: string[] = [];
  const start = startOwnKafka({
    properties: {
      listeners: `PLAIN://${taken},CONTROLLER://${controller}`,
      'controller.quorum.voters': `1@${controller}`,
    },
    onProgress: (line) => progress.push(line),
  });
  await expect(start).rejects.toMatchObject({
    code: 'LOCAL_KAFKA_FAILED',
    detail: expect.stringContaining('Address already in use') as string,
  });
  server.close();
  expect(progress).toEqual([expect.stringContaining('a port was taken')]);
});

it("formats one folder with Kafka's tool, and the next from what it wrote, under ids of their own", async () => {
  const [folder, next, kept] = [tempDir(), tempDir(), join(tempDir(), 'checkpoint')];
  const tool = vi.fn(async () => writeFileSync(join(folder, 'bootstrap.checkpoint'), 'features'));
  await formatFolder(folder, kept, tool);
  await formatFolder(next, kept, tool);
  await formatFolder(folder, kept, tool);
  expect(tool.mock.calls).toEqual([[expect.stringMatching(/^[\w][\w-]{21}$/)]]);
  expect(readFileSync(join(next, 'bootstrap.checkpoint'), 'utf8')).toBe('features');
  const ids = [folder, next].map((each) => readFileSync(join(each, 'meta.properties'), 'utf8'));
  expect(ids[0]).toMatch(/^version=1\nnode\.id=1\ncluster\.id=[\w-]{22}\ndirectory\.id=[\w-]{22}\n$/);
  expect(ids[0]).not.toBe(ids[1]);
  await formatFolder(folder, undefined, tool);
  expect(tool).toHaveBeenCalledTimes(2);
});

describe('a secured broker', () => {
  const alice = { username: 'alice', password: 'with "quotes" and \\' };
  const bob = { username: 'bob', password: 'bob' };
  let kafka: LocalKafka;
  let ca: Buffer;

  beforeAll(async () => {
    kafka = await startOwnKafka({
      security: {
        listeners: ['tls', 'mtls', 'sasl', 'sasl-tls'],
        users: [alice, bob],
        authorizer: true,
        superUsers: ['alice', CLIENT_NAME],
      },
    });
    ca = readFileSync(kafka.tls!.caFile);
  }, FIRST_START_MS);

  const at = (kind: keyof LocalKafka['listeners'], config: Partial<KafkaConfig>): KafkaConfig => ({
    brokers: [kafka.listeners[kind]!],
    retry: { retries: 0 },
    ...config,
  });
  const clientCertificate = (): { cert: Buffer; key: Buffer } => ({
    cert: readFileSync(kafka.tls!.clientCertFile),
    key: readFileSync(kafka.tls!.clientKeyFile),
  });

  it('lets its administrator do everything, over a listener of its own', async () => {
    const config: KafkaConfig = {
      brokers: [...kafka.admin.brokers],
      sasl: { mechanism: 'plain', ...kafka.admin.credentials! },
    };
    await createTopic(config, 'secured');
    expect(await topicsOf(config)).toContain('secured');
    expect(Object.values(kafka.listeners)).not.toContain(kafka.admin.brokers[0]);
    expect(kafka.brokers).toEqual([kafka.listeners.tls]);
  });

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'knows its users by %s, with and without TLS',
    async (mechanism) => {
      expect(await topicsOf(at('sasl', { sasl: { mechanism, ...alice } as never }))).toContain('secured');
      expect(await topicsOf(at('sasl-tls', { ssl: { ca: [ca] }, sasl: { mechanism, ...alice } as never }))).toContain(
        'secured',
      );
      const wrong = at('sasl', { sasl: { mechanism, username: 'alice', password: 'wrong' } as never });
      await expect(topicsOf(wrong)).rejects.toThrow(/authentication failed/i);
    },
  );

  it('denies what no ACL allows', async () => {
    const config = at('sasl', { sasl: { mechanism: 'plain', ...bob } });
    expect(await topicsOf(config)).toEqual([]);
    await expect(createTopic(config, 'denied')).rejects.toThrow();
    await expect(createTopic(at('tls', { ssl: { ca: [ca] } }), 'denied')).rejects.toThrow();
    expect(await topicsOf(at('sasl', { sasl: { mechanism: 'plain', ...alice } }))).not.toContain('denied');
  });

  it('shows a certificate that its authority has signed, and no other is taken for it', async () => {
    expect(await topicsOf(at('tls', { ssl: { ca: [ca] } }))).toEqual([]);
    const other = readFileSync((await createCertificates(tempDir())).caFile);
    await expect(topicsOf(at('tls', { ssl: { ca: [other] } }))).rejects.toThrow(/certificate/);
  });

  it('knows a client by its certificate', async () => {
    expect(await topicsOf(at('mtls', { ssl: { ca: [ca], ...clientCertificate() } }))).toContain('secured');
    await expect(topicsOf(at('mtls', { ssl: { ca: [ca] } }))).rejects.toThrow(/certificate/);
  });
});
