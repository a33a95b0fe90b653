/**
 * Three faults of kafkajs, mended for every client of the process:
 *
 * - After each response its request queue sets a timer to the end of the throttling, which is in the past if there is
 *   none: that is where Node's TimeoutNegativeWarning comes from. With nothing waiting there is nothing to set a timer
 *   for.
 * - Two callers that find a connection closed would both open a socket, and mix what the two receive.
 * - A connection that is closed again and again, as while a broker is away, leaves a listener on its dead socket each
 *   time, until Node warns of a leak.
 */
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);

interface RequestQueue {
  readonly pending: readonly unknown[];
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
}

interface Connection {
  socket: object | null | undefined;
  connect: (this: Connection) => Promise<unknown>;
  disconnect: (this: Connection) => Promise<unknown>;
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
  const running = connecting.get(this) ?? connect.call(this).finally(() => connecting.delete(this));
  connecting.set(this, running);
  return running;
};

const disconnect = connection.disconnect;
connection.disconnect = async function disconnectOnce(this: Connection): Promise<unknown> {
  const { socket } = this;
  const result = await disconnect.call(this);
  // Another one may have been opened meanwhile.
  if (this.socket === socket) this.socket = null;
  return result;
};
