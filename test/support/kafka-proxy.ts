/**
 * Stands between a client and one broker and knows requests from each other: a test may hold one back, keep it from the
 * broker, or keep its answer from the client. Clients reach it by their socket factory, so what brokers say of their
 * addresses need not be changed.
 */
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { ISocketFactory } from 'kafkajs';

export const END_TXN = 26;
export const PRODUCE = 0;
export const FETCH = 1;

export interface ProxiedRequest {
  readonly apiKey: number;
  readonly correlationId: number;
  /** The whole request, its length included. */
  readonly frame: Buffer;
}

/**
 * `lose request`: the broker never sees it. `lose answer`: the client never sees that. A promise holds back the request
 * and what comes after it on the same connection.
 */
export type Verdict = 'pass' | 'lose request' | 'lose answer' | 'cut';

export class KafkaProxy {
  /** Asked about each request. */
  judge: (request: ProxiedRequest) => Verdict | Promise<Verdict> = () => 'pass';
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(broker: string): Promise<KafkaProxy> {
    const [host, port] = broker.split(':');
    const server = createServer();
    const proxy = new KafkaProxy(server);
    server.on('connection', (client) => proxy.#join(client, connect({ host: host!, port: Number(port) })));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  /** Leads every connection of a client through the proxy. */
  get socketFactory(): ISocketFactory {
    const { port } = this.#server.address() as AddressInfo;
    return ({ onConnect }) => connect({ host: '127.0.0.1', port }, onConnect);
  }

  /** Cuts all connections; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #join(client: Socket, broker: Socket): void {
    const lost = new Set<number>();
    let requests = Promise.resolve();
    onFrames(client, (frame) => {
      const request = { apiKey: frame.readInt16BE(4), correlationId: frame.readInt32BE(8), frame };
      requests = requests.then(async () => {
        const verdict = await this.judge(request);
        if (verdict === 'cut') client.destroy();
        if (verdict === 'lose answer') lost.add(request.correlationId);
        if (verdict === 'pass' || verdict === 'lose answer') broker.write(frame);
      });
    });
    onFrames(broker, (frame) => {
      if (!lost.delete(frame.readInt32BE(4))) client.write(frame);
    });
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}

/** The answer decides whether a transaction is committed: the last byte of the request. */
export const isCommit = ({ apiKey, frame }: ProxiedRequest): boolean => apiKey === END_TXN && frame.at(-1) === 1;

function onFrames(socket: Socket, take: (frame: Buffer) => void): void {
  let bytes = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
      const end = 4 + bytes.readInt32BE(0);
      take(Buffer.from(bytes.subarray(0, end)));
      bytes = bytes.subarray(end);
    }
  });
}
