/**
 * Answers orchestrators and Prometheus. On loopback by default: what is said here is nobody's secret, and still for
 * those who run the service.
 *
 *     GET /live     200 or 503: would a restart help?
 *     GET /ready    200 or 503: does every task that it was given run?
 *     GET /metrics  Prometheus text
 *     GET /status   what `freshet status --json` prints
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { FreshetError } from '../base/errors.ts';
import type { HealthReport } from './health.ts';

export interface HttpServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly logger: Logger;
  readonly health: () => HealthReport;
  readonly metrics: () => Promise<string>;
  readonly status: () => Promise<object>;
}

interface Answer {
  readonly code: number;
  readonly type: 'application/json' | 'text/plain; version=0.0.4; charset=utf-8';
  readonly body: string;
}

const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 10_000;

export class HttpServer {
  /** E.g. `http://127.0.0.1:9464`. */
  readonly url: string;
  private readonly server: Server;

  private constructor(server: Server) {
    const { address, port, family } = server.address() as AddressInfo;
    this.url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    this.server = server;
  }

  /** Fails with HTTP_UNAVAILABLE if the address cannot be had. */
  static async open(options: HttpServerOptions): Promise<HttpServer> {
    const { host, port, logger } = options;
    const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS });
    server.maxConnections = MAX_CONNECTIONS;
    server.on('request', (request, response) => void respond(request, response, options));
    server.listen(port, host);
    try {
      await once(server, 'listening');
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      throw new FreshetError('HTTP_UNAVAILABLE', `${host}:${port}: ${why}`, { cause: error });
    }
    // Asking for health is no reason for the process to live on.
    server.unref();
    const opened = new HttpServer(server);
    logger.info({ code: 'HTTP_LISTENING', url: opened.url }, 'health and metrics');
    return opened;
  }

  async close(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }
}

async function respond(request: IncomingMessage, response: ServerResponse, options: HttpServerOptions): Promise<void> {
  const { code, type, body } = await answer(request, options).catch((error: unknown): Answer => {
    options.logger.error({ err: error }, 'a request for health or metrics failed');
    return json(500, { code: error instanceof FreshetError ? error.code : 'INTERNAL' });
  });
  response.writeHead(code, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(code === 405 && { allow: 'GET, HEAD' }),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function answer({ method, url }: IncomingMessage, options: HttpServerOptions): Promise<Answer> {
  if (method !== 'GET' && method !== 'HEAD') return json(405, { error: 'only GET' });
  switch ((url ?? '/').replace(/\?.*/s, '')) {
    case '/live':
      return probe(options.health(), 'live');
    case '/ready':
      return probe(options.health(), 'ready');
    case '/metrics':
      return { code: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await options.metrics() };
    case '/status':
      return json(200, await options.status());
    default:
      return json(404, { paths: ['/live', '/ready', '/metrics', '/status'] });
  }
}

const probe = (health: HealthReport, what: 'live' | 'ready'): Answer => json(health[what] ? 200 : 503, health);

const json = (code: number, value: object): Answer => ({
  code,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
});
