/** A schema registry over HTTP for tests: it answers as Confluent's does, and fails in every way that is asked of it. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Version {
  readonly id: number;
  readonly schema: string;
}

/** What becomes of a request instead of an answer. */
export type Fault =
  | 'reset'
  /** Nothing is ever said. */
  | 'silence'
  /** An answer of which a byte comes now and then, without an end. */
  | 'drip'
  | { readonly status: number; readonly body: string };

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
}

const PATH = '/registry';
const DRIP_MS = 50;

export class FakeRegistry {
  readonly subjects = new Map<string, Version[]>();
  readonly levels = new Map<string, string>();
  /** Of the registry, for subjects without a level of their own. */
  level = 'BACKWARD';
  hasGuids = true;
  readonly calls: Call[] = [];
  fault: (call: Call) => Fault | undefined = () => undefined;
  #server: Server | undefined;
  #port = 0;
  #lastId = 100;

  static async start(): Promise<FakeRegistry> {
    const registry = new FakeRegistry();
    await registry.start();
    return registry;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}${PATH}`;
  }

  /** At the port that it had before, if any. */
  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  }

  /** Registers as somebody else would; the id is that of the same text under any subject. */
  register(subject: string, schema: string): number {
    const versions = this.subjects.get(subject) ?? [];
    const same = [...this.subjects.values()].flat().find((version) => version.schema === schema);
    const id = same?.id ?? (this.#lastId += 1);
    if (!versions.some((version) => version.id === id)) this.subjects.set(subject, [...versions, { id, schema }]);
    return id;
  }

  get writes(): Call[] {
    return this.calls.filter(
      ({ method, path }) => method === 'PUT' || (method === 'POST' && path.split('?')[0]!.endsWith('/versions')),
    );
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const path = decodeURIComponent((request.url ?? '').replace(PATH, ''));
    const call = { method: request.method ?? '', path, authorization: request.headers.authorization };
    this.calls.push(call);
    const fault = this.fault(call);
    if (fault === undefined) {
      const [status, answer] = this.#answer(call, body === '' ? {} : (JSON.parse(body) as Record<string, string>));
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } else if (fault === 'reset') {
      request.socket.resetAndDestroy();
    } else if (fault === 'drip') {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), DRIP_MS);
      response.on('close', () => clearInterval(timer));
    } else if (fault !== 'silence') {
      response.writeHead(fault.status, { 'content-type': 'application/json' }).end(fault.body);
    }
  }

  #answer({ method, path }: Call, body: Record<string, string>): [number, unknown] {
    const [, kind, name = '', ...rest] = path.split('?')[0]!.split('/');
    if (kind === 'config') return this.#config(method, name, body);
    if (kind === 'schemas' && name === 'ids') return this.#schema((version) => version.id === Number(rest[0]));
    if (kind === 'schemas' && name === 'guids' && this.hasGuids) {
      return this.#schema((version) => guidOf(version.schema) === rest[0]);
    }
    if (kind === 'subjects') return this.#subject(method, name, rest, body['schema'] ?? '');
    return [404, { error_code: 404, message: 'HTTP 404 Not Found' }];
  }

  #config(method: string, subject: string, body: Record<string, string>): [number, unknown] {
    if (method === 'PUT') {
      this.levels.set(subject, body['compatibility']!);
      return [200, body];
    }
    const level = subject === '' ? this.level : this.levels.get(subject);
    return level === undefined
      ? [404, { error_code: 40408, message: `Subject '${subject}' has no compatibility level` }]
      : [200, { compatibilityLevel: level }];
  }

  #schema(wanted: (version: Version) => boolean): [number, unknown] {
    const version = [...this.subjects.values()].flat().find(wanted);
    return version === undefined
      ? [404, { error_code: 40403, message: 'Schema not found' }]
      : [200, { schema: version.schema }];
  }

  #subject(method: string, subject: string, rest: string[], schema: string): [number, unknown] {
    if (method === 'POST' && rest[0] === 'versions') {
      return [200, { id: this.register(subject, schema), guid: guidOf(schema) }];
    }
    const versions = this.subjects.get(subject);
    if (versions === undefined) return [404, { error_code: 40401, message: `Subject '${subject}' not found.` }];
    if (rest[0] === 'versions' && rest[1] === undefined) return [200, versions.map((_, index) => index + 1)];
    const index = rest[0] === 'versions' ? Number(rest[1]) - 1 : versions.findIndex((each) => each.schema === schema);
    const version = versions[index];
    if (version === undefined) return [404, { error_code: 40403, message: 'Schema not found' }];
    return [
      200,
      { subject, version: index + 1, ...version, ...(this.hasGuids ? { guid: guidOf(version.schema) } : {}) },
    ];
  }
}

export const guidOf = (schema: string): string =>
  createHash('md5')
    .update(schema)
    .digest('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
