/**
 * Faults of kafkajs, mended for every client of the process:
 *
 * - After each response its request queue sets a timer to the end of the throttling, which is in the past if there is
 *   none: that is where Node's TimeoutNegativeWarning comes from. With nothing waiting there is nothing to set a timer
 *   for.
 * - Two callers that find a connection closed would both open a socket, and mix what the two receive.
 * - A connection that is closed again and again, as while a broker is away, leaves a listener on its dead socket each
 *   time, until Node warns of a leak.
 * - A connection that is being closed waits for its answers, and nothing ends that wait any more: neither the end of the
 *   socket nor the requests' time-out. So a request under way may never settle.
 * - A connection whose socket is closed while it is being opened is neither open nor refused until its time-out, which
 *   then closes whatever was opened in its place, with the requests on it. One that is closed later keeps its requests
 *   waiting.
 * - A request is copied into two more buffers, zeroed and of the next power of two, on its way to the socket. One that
 *   leaves room before it has its header written there.
 */
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';

const load = createRequire(import.meta.url);
const { KafkaJSConnectionError } = load('kafkajs/src/errors.js') as {
  KafkaJSConnectionError: new (message: string, connection: { readonly broker: string }) => Error;
};

interface RequestQueue {
  readonly pending: readonly unknown[];
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
}

interface Connection {
  socket: Socket | null | undefined;
  broker: string;
  connect: (this: Connection) => Promise<unknown>;
  disconnect: (this: Connection) => Promise<unknown>;
  rejectRequests: (error: Error) => void;
}

const queue = (load('kafkajs/src/network/requestQueue/index.js') as { prototype: RequestQueue }).prototype;
const schedule = queue.scheduleCheckPendingRequests;
queue.scheduleCheckPendingRequests = function scheduleIfPending(this: RequestQueue): void {
  if (this.pending.length > 0) schedule.call(this);
};

const connection = (load('kafkajs/src/network/connection.js') as { prototype: Connection }).prototype;
const connect = connection.connect;
const connecting = new WeakMap<Connection, Promise<unknown>>();
connection.connect = function connectOnce(this: Connection): Promise<unknown> {
  const running = connecting.get(this) ?? connectOrFail(this).finally(() => connecting.delete(this));
  connecting.set(this, running);
  return running;
};

/** kafkajs hears of an end and of an error; a socket that just closes is told to it as one. */
function connectOrFail(to: Connection): Promise<unknown> {
  const connected = connect.call(to);
  const { socket } = to;
  let isOpening = true;
  let isTold = false;
  const opened = (): void => {
    isOpening = false;
  };
  const told = (): void => {
    isTold = true;
  };
  connected.then(opened, opened);
  socket
    ?.once('error', told)
    .once('end', told)
    .once('close', () => {
      // One that was closed on purpose is no longer the connection's.
      if (!isTold && (isOpening || to.socket === socket)) socket.emit('error', new Error('the connection was closed'));
    });
  return connected;
}

const disconnect = connection.disconnect;
connection.disconnect = async function disconnectOnce(this: Connection): Promise<unknown> {
  const { socket } = this;
  this.rejectRequests(new KafkaJSConnectionError('the connection is being closed', { broker: this.broker }));
  const result = await disconnect.call(this);
  // Another one may have been opened meanwhile.
  if (this.socket === socket) this.socket = null;
  return result;
};

interface Encoder {
  buf: Buffer;
  offset: number;
  start?: number;
  writeEncoder: (this: Encoder, value: Encoder) => Encoder;
}

/** Room for a request's header: length, three numbers and the client id. */
export const HEADER_ROOM_BYTES = 512;

const encoder = (load('kafkajs/src/protocol/encoder.js') as { prototype: Encoder }).prototype;
const writeEncoder = encoder.writeEncoder;
encoder.writeEncoder = function writeEncoderInPlace(this: Encoder, value: Encoder): Encoder {
  const start = (value.start ?? 0) - this.offset;
  if (value.start === undefined || this.start !== undefined || start < 0) return writeEncoder.call(this, value);
  this.buf.copy(value.buf, start, 0, this.offset);
  this.buf = value.buf;
  this.offset = value.offset;
  this.start = start;
  return this;
};
Object.defineProperties(encoder, {
  buffer: {
    get(this: Encoder): Buffer {
      return this.buf.subarray(this.start ?? 0, this.offset);
    },
  },
  size: {
    value(this: Encoder): number {
      return this.offset - (this.start ?? 0);
    },
  },
});
