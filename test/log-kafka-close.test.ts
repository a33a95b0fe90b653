/** The end of a log on Kafka whose broker takes connections and answers nothing: a process that is paused, or out of memory. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { createLogger } from '../src/base/logger.ts';
import { openKafkaLog, type KafkaLog } from '../src/log/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const AT = { topic: 'user-actions', partition: 0 };
const LIMITS = { maxRecords: 1, maxBytes: 1_000 };

const sockets = new Set<Socket>();
const connected = new EventTarget();
let server: Server;
let log: KafkaLog;

beforeEach(async () => {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).resume();
    connected.dispatchEvent(new Event('connection'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const broker = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  log = openKafkaLog(
    loadConfig({ env: {}, flags: { brokers: broker, registry: 'http://127.0.0.1:9' }, cwd: tempDir() }),
    createLogger('silent'),
  );
});

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server.close();
});

describe('closing the log', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['opening a writer', () => log.openWriter('freshet-user-actions-0')],
    ['reading records', () => log.read(AT, 0, LIMITS)],
    ['asking for the end of a partition', () => log.endOffset(AT)],
  ])('ends %s, and all connections with it', async (_, wait) => {
    const asked = once(connected, 'connection');
    const ended = wait().then(
      () => 'done',
      (error: unknown) => (error as { code?: string }).code,
    );
    await asked;
    const closed = log.close().then(() => 'closed');
    expect(await Promise.race([closed, sleep(2_000, 'is being closed')])).toBe('closed');
    expect(await Promise.race([ended, sleep(2_000, 'waits for the broker')])).toBe('LOG_UNAVAILABLE');
    await expect.poll(() => [...sockets].every((socket) => socket.destroyed || socket.readableEnded)).toBe(true);
  });
});
