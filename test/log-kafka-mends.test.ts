/** Faults of kafkajs's connections, each against a server that does what a broker may do when it goes down. */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createLogger } from '../src/base/logger.ts';
import { createKafkaLogger, defaultSocketFactory, type KafkaConnection } from '../src/log/kafka-internals.ts';
import { kafkaLogCreator, kafkaLogLevel } from '../src/log/kafka-logger.ts';

interface Connection extends KafkaConnection {
  connect(): Promise<unknown>;
  isConnected(): boolean;
}

const load = createRequire(import.meta.url);
const ConnectionClass = load('kafkajs/src/network/connection.js') as new (options: object) => Connection;
const versionsRequest = load('kafkajs/src/protocol/requests/apiVersions/v0/request.js') as () => never;
const versionsResponse = load('kafkajs/src/protocol/requests/apiVersions/v0/response.js') as never;

const sockets = new Set<Socket>();
let server: Server | undefined;

afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  server?.close();
});

/** A connection to a server that answers nothing. */
async function connectionTo(
  onConnection: (socket: Socket) => void,
  ssl: object | null,
  connectionTimeout = NEVER_MS,
): Promise<Connection> {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const logger = createLogger('silent');
  return new ConnectionClass({
    ...{ host: '127.0.0.1', port: (server.address() as AddressInfo).port, ssl },
    ...{ requestTimeout: NEVER_MS, connectionTimeout, socketFactory: defaultSocketFactory() },
    logger: createKafkaLogger({ level: kafkaLogLevel(logger), logCreator: kafkaLogCreator(logger) }),
  });
}

const NEVER_MS = 60_000;

/** What a promise has come to after a while. */
const soon = (work: Promise<unknown>): Promise<unknown> =>
  Promise.race([
    work.then(
      () => 'done',
      () => 'failed',
    ),
    sleep(2_000, 'pending'),
  ]);

describe('a connection', () => {
  it('that is closed ends the requests under way, though no answer and no end of the other side comes', async () => {
    const connection = await connectionTo(() => undefined, null);
    await connection.connect();
    const answered = connection.send({ request: versionsRequest(), response: versionsResponse });
    answered.catch(() => undefined);
    await sleep(10);
    expect(await soon(connection.disconnect())).toBe('done');
    expect(await soon(answered)).toBe('failed');
  });

  it('whose TLS handshake the other side ends is refused', async () => {
    const connection = await connectionTo((socket) => socket.end(), {});
    expect(await soon(connection.connect())).toBe('failed');
  });

  it('that is dropped while it is being opened is refused', async () => {
    const { promise: opened, resolve } = Promise.withResolvers<void>();
    const connection = await connectionTo(() => {
      resolve();
    }, {});
    const connected = connection.connect();
    connected.catch(() => undefined);
    await opened;
    connection.socket?.destroy();
    expect(await soon(connected)).toBe('failed');
  });

  it('that is dropped ends the requests under way, and can be opened again', async () => {
    const connection = await connectionTo(() => undefined, null);
    await connection.connect();
    const answered = connection.send({ request: versionsRequest(), response: versionsResponse });
    answered.catch(() => undefined);
    await sleep(10);
    connection.socket?.destroy();
    expect(await soon(answered)).toBe('failed');
    expect(connection.isConnected()).toBe(false);
    expect(await soon(connection.connect())).toBe('done');
    await connection.disconnect();
  });

  it('that is opened after it was dropped outlives the time-out of the first attempt', async () => {
    const connection = await connectionTo(() => undefined, null, 200);
    const dropped = connection.connect();
    dropped.catch(() => undefined);
    connection.socket?.destroy();
    expect(await soon(dropped)).toBe('failed');
    await connection.connect();
    const answered = connection.send({ request: versionsRequest(), response: versionsResponse });
    answered.catch(() => undefined);
    expect(await Promise.race([soon(answered), sleep(600, 'waits for its answer')])).toBe('waits for its answer');
    expect(connection.isConnected()).toBe(true);
    await connection.disconnect();
  });
});
