/** What an orchestrator and Prometheus meet: real requests, real worker threads. */
import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { FreshetError } from '../src/base/errors.ts';
import { HttpServer, type HttpServerOptions } from '../src/observe/http-server.ts';
import { ProcessObserver } from '../src/observe/process-observer.ts';
import type { WorkerReport } from '../src/observe/worker-observer.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function serve(options: Partial<HttpServerOptions> = {}): Promise<HttpServer> {
  const server = await HttpServer.open({
    host: '127.0.0.1',
    port: 0,
    logger: pino({ level: 'silent' }),
    health: () => ({ live: true, ready: true, reasons: [] }),
    metrics: () => Promise.resolve('up 1\n'),
    status: () => Promise.resolve({ appId: 'freshet' }),
    ...options,
  });
  closing.push(() => server.close());
  return server;
}

const get = async (server: HttpServer, path: string) => {
  const response = await fetch(`${server.url}${path}`, { signal: AbortSignal.timeout(5_000) });
  return { code: response.status, type: response.headers.get('content-type'), text: await response.text() };
};

describe('answers', () => {
  it('200 where all is well', async () => {
    const server = await serve();
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    for (const path of ['/live', '/ready', '/ready?verbose=1']) {
      const { code, type, text } = await get(server, path);
      expect([code, type]).toEqual([200, 'application/json']);
      expect(JSON.parse(text)).toEqual({ live: true, ready: true, reasons: [] });
    }
    expect(await get(server, '/metrics')).toEqual({
      code: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      text: 'up 1\n',
    });
    expect(JSON.parse((await get(server, '/status')).text)).toEqual({ appId: 'freshet' });
  });

  it('503 on /ready alone for what waits, with the reason', async () => {
    const reasons = [{ code: 'LOG_UNAVAILABLE', message: 'No broker', remedy: 'Wait' }] as const;
    const server = await serve({ health: () => ({ live: true, ready: false, reasons }) });
    expect((await get(server, '/live')).code).toBe(200);
    const { code, text } = await get(server, '/ready');
    expect(code).toBe(503);
    expect(JSON.parse(text)).toEqual({ live: true, ready: false, reasons });
  });

  it('503 on both for what does not live', async () => {
    const server = await serve({ health: () => ({ live: false, ready: false, reasons: [] }) });
    expect([(await get(server, '/live')).code, (await get(server, '/ready')).code]).toEqual([503, 503]);
  });

  it('404 elsewhere, with the paths that there are', async () => {
    const { code, text } = await get(await serve(), '/');
    expect(code).toBe(404);
    expect(JSON.parse(text)).toEqual({ paths: ['/live', '/ready', '/metrics', '/status'] });
  });

  it('405 to what would change something, and a HEAD without a body', async () => {
    const server = await serve();
    const posted = await fetch(`${server.url}/live`, { method: 'POST', body: 'x' });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    const head = await fetch(`${server.url}/live`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  it('500 with a code where an answer cannot be made: nothing of the error goes out', async () => {
    const error = new FreshetError('LOG_UNAVAILABLE', 'broker-7.internal');
    const server = await serve({ status: () => Promise.reject(error), metrics: () => Promise.reject(new Error('x')) });
    expect(await get(server, '/status')).toMatchObject({ code: 500, text: '{"code":"LOG_UNAVAILABLE"}\n' });
    expect(await get(server, '/metrics')).toMatchObject({ code: 500, text: '{"code":"INTERNAL"}\n' });
    expect((await get(server, '/live')).code).toBe(200);
  });

  it('only on the address that it was given', async () => {
    const server = await serve();
    const port = Number(new URL(server.url).port);
    const socket = connect(port, '127.0.0.2');
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
  });
});

describe('a server', () => {
  it('that cannot have its port says so, with the remedy', async () => {
    const { url } = await serve();
    const second = serve({ port: Number(new URL(url).port) });
    await expect(second).rejects.toMatchObject({ code: 'HTTP_UNAVAILABLE', exitCode: 4 });
    await expect(second).rejects.toThrow(/127\.0\.0\.1:\d+: EADDRINUSE/);
  });

  it('closes at once, whoever is still connected', async () => {
    const server = await serve();
    closing.length = 0;
    const kept = request(`${server.url}/live`, { headers: { connection: 'keep-alive' } }).end();
    const gone = once(kept, 'close');
    const idle = connect(Number(new URL(server.url).port), '127.0.0.1');
    idle.on('error', () => undefined);
    await once(idle, 'connect');
    await once(kept, 'response');
    const startedMs = performance.now();
    await server.close();
    await gone;
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    idle.destroy();
    await expect(fetch(`${server.url}/live`)).rejects.toThrow();
  });
});

describe('worker threads', () => {
  it('are one process to those who ask: ready together, stuck if one is, counted after they end', async () => {
    const observer = new ProcessObserver({ version: '1', partitions: 2, staleMs: 3_000 });
    const server = await serve({ health: () => observer.health(), metrics: () => observer.metrics() });
    const threads = [0, 1].map((worker) => {
      observer.started(worker);
      const thread = new Worker(new URL('./observe-thread.ts', import.meta.url), { workerData: { worker } });
      thread.on('message', (report: WorkerReport) => observer.reported(report));
      closing.push(() => thread.terminate());
      return thread;
    });
    const [first, second] = threads as [Worker, Worker];
    const codes = async (path: string): Promise<string[]> =>
      (JSON.parse((await get(server, path)).text) as WorkerReport['health']).reasons.map(({ code }) => code);
    const until = (ask: () => Promise<unknown>) => expect.poll(ask, { timeout: 20_000, interval: 50 });

    await until(() => codes('/ready')).toEqual(['TASK_NOT_RUNNING', 'TASK_NOT_RUNNING']);
    first.postMessage('run');
    await until(() => codes('/ready')).toEqual(['TASK_NOT_RUNNING']);
    second.postMessage('run');
    await until(async () => (await get(server, '/ready')).code).toBe(200);

    for (const thread of threads) thread.postMessage('commit');
    const accepted = 'freshet_records_total{task="features",outcome="accepted"} 20';
    await until(async () => (await get(server, '/metrics')).text).toContain(accepted);
    await until(async () => (await get(server, '/metrics')).text).toContain(
      'freshet_tasks{task="features",state="RUNNING"} 2',
    );

    second.postMessage('block');
    await until(async () => (await get(server, '/live')).code).toBe(503);
    expect(await codes('/live')).toEqual(['WORKER_STUCK']);
    const stuck = (await get(server, '/metrics')).text;
    expect(stuck).toContain(accepted);
    expect(stuck).toContain('freshet_tasks{task="features",state="RUNNING"} 1');
    expect(stuck).toContain('freshet_workers{health="stale"} 1');

    await until(async () => (await get(server, '/live')).code).toBe(200);
    // The first report after the block may be made before the delay is measured.
    await until(async () => {
      const { text } = await get(server, '/metrics');
      return Number(/^freshet_event_loop_delay_max_seconds ([\d.]+)$/m.exec(text)?.[1]);
    }).toBeGreaterThan(1);

    // What is counted between the last report and the end is in the report of the end.
    second.postMessage('commit');
    second.postMessage('close');
    await once(second, 'exit');
    observer.stopped(1);
    expect((await get(server, '/metrics')).text).toContain('outcome="accepted"} 30');
    await until(async () => (await get(server, '/ready')).code).toBe(200);
  });
});
