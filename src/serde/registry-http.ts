/**
 * The registry over HTTP: `@confluentinc/schemaregistry` with the deadline and the credentials that it lacks. A call
 * ends within its time whatever the other side does; a password or token that is replaced in its file is taken up.
 */
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
// The package's index loads every key-management SDK it can use, 1.7 s of start-up; this module is the client alone.
import { SchemaRegistryClient } from '@confluentinc/schemaregistry/dist/schemaregistry-client.js';
import { FreshetError } from '../base/errors.ts';
import { failureOf, RegistryFailure } from './registry-failure.ts';
import type { SchemaClient } from './schema-client.ts';

/** As the configuration's `registryAuth`: a user with a password or its file, a token's file, or nothing. */
export interface RegistryAuth {
  readonly username: string | null;
  readonly password: string | null;
  readonly passwordFile: string | null;
  readonly tokenFile: string | null;
}

export interface HttpRegistryOptions {
  readonly url: string;
  readonly auth: RegistryAuth | null;
  /** All of a call together: connecting, tries, the answer. */
  readonly callTimeoutMs: number;
}

/** For connections that the registry closed while they were idle; whoever calls tries again in its own time. */
const RETRIES = { maxRetries: 2, retriesWaitMs: 100, retriesMaxWaitMs: 500 } as const;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_SOCKETS = 4;

interface Connection {
  readonly authorization: string | null;
  readonly client: SchemaClient;
  /** Ends the requests that run. */
  close(): void;
}

export class HttpRegistry {
  readonly #options: HttpRegistryOptions;
  #connection: Connection | undefined;

  private constructor(options: HttpRegistryOptions) {
    this.#options = options;
  }

  /** Reads the credentials, asks nothing yet. Throws FILE_NOT_FOUND. */
  static async connect(options: HttpRegistryOptions): Promise<HttpRegistry> {
    const registry = new HttpRegistry(options);
    registry.#connection = await registry.#newConnection();
    return registry;
  }

  /** Host and path, for people. */
  get name(): string {
    const { host, pathname } = new URL(this.#options.url);
    return `${host}${pathname}`;
  }

  /** One call; fails with RegistryFailure. Credentials that are refused are read again, once, in case they changed. */
  async call<T>(use: (client: SchemaClient) => Promise<T>): Promise<T> {
    const connection = (this.#connection ??= await this.#newConnection());
    try {
      return await this.#within(connection, use);
    } catch (error) {
      const failure = failureOf(error);
      // The client keeps any answer with status 200, also one that made no sense.
      if (failure.kind === 'unavailable') connection.client.clearCaches();
      if (failure.kind !== 'denied' || !(await this.#reconnected(connection))) throw failure;
    }
    return this.#within(this.#connection, use).catch((error: unknown) => {
      throw failureOf(error);
    });
  }

  /**
   * The client's own time-out only measures silence, and its calls queue behind each other: a deadline here, past
   * which the connection is closed, so that one answer that never ends does not hold up the calls after it.
   */
  async #within<T>(connection: Connection, use: (client: SchemaClient) => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        if (this.#connection === connection) this.#connection = undefined;
        connection.close();
        reject(new RegistryFailure('unavailable', `no answer within ${this.#options.callTimeoutMs} ms`));
      }, this.#options.callTimeoutMs);
    });
    try {
      return await Promise.race([use(connection.client), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Whether there are other credentials by now than those of `refused`. */
  async #reconnected(refused: Connection): Promise<boolean> {
    const next = await this.#newConnection();
    if (next.authorization === refused.authorization) return false;
    this.#connection = next;
    return true;
  }

  async #newConnection(): Promise<Connection> {
    const { url, auth, callTimeoutMs } = this.#options;
    const authorization = await authorizationOf(auth);
    const agents = [new HttpAgent({ keepAlive: true, maxSockets: MAX_SOCKETS }), newHttpsAgent()] as const;
    const client = SchemaRegistryClient.newClient({
      baseURLs: [url.replace(/\/+$/, '')],
      ...RETRIES,
      createAxiosDefaults: {
        timeout: callTimeoutMs,
        maxContentLength: MAX_ANSWER_BYTES,
        // A redirected POST arrives as a GET; and credentials go to no other address than the configured one.
        maxRedirects: 0,
        httpAgent: agents[0],
        httpsAgent: agents[1],
        ...(authorization === null ? {} : { headers: { Authorization: authorization } }),
      },
    });
    return { authorization, client, close: () => agents.forEach((agent) => agent.destroy()) };
  }
}

const newHttpsAgent = (): HttpsAgent => new HttpsAgent({ keepAlive: true, maxSockets: MAX_SOCKETS });

/** The client's own ways would want Confluent Cloud's cluster id with a token. */
async function authorizationOf(auth: RegistryAuth | null): Promise<string | null> {
  if (auth === null) return null;
  const { username, password, passwordFile, tokenFile } = auth;
  if (tokenFile !== null) return `Bearer ${await secretIn(tokenFile)}`;
  if (username === null) return null;
  const secret = password ?? (passwordFile === null ? '' : await secretIn(passwordFile));
  return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
}

async function secretIn(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new FreshetError('FILE_NOT_FOUND', file, { cause: error });
  }
}
