/** Ports on the loopback address: free ones are found, wanted ones are checked. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { FreshetError } from '../base/errors.ts';

export const LOOPBACK = '127.0.0.1';

/**
 * Below the ports that systems give to outgoing connections: while a broker is down for a bounce, no client may get its
 * port by chance, and a client that connects to a port nobody listens on can there even connect to itself.
 */
const FREE_PORT_FROM = 15_000;
const FREE_PORT_TO = 32_000;
const TRIES = 200;

/** A free port that is none of `taken`. */
export async function freePort(taken: readonly number[] = []): Promise<number> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = randomInt(FREE_PORT_FROM, FREE_PORT_TO);
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
  throw new FreshetError('PORT_IN_USE', `no free port was found between ${FREE_PORT_FROM} and ${FREE_PORT_TO}`);
}

export async function assertFree(port: number): Promise<void> {
  if (!(await isFree(port))) throw new FreshetError('PORT_IN_USE', `${LOOPBACK}:${port}`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, LOOPBACK), 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    server.close();
  }
}
