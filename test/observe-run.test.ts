/** A live `freshet run` as its surroundings see it: probes, metrics and status, over HTTP. */
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { Status } from '../src/observe/status.ts';
import { CliProcess, inputFile, logLines, succeed, USER_MARK } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const ACTIONS = 500;
const dataDir = join(tempDir(), 'data');
const model = packagePath('test', 'fixtures', 'intent', 'small');
const flags = ['--partitions=2', `--model=${model}`, `--data-dir=${dataDir}`];

describe('a live run', () => {
  it('becomes ready, counts what it does, is asked for its status, and ends as it should', async () => {
    const nowMs = Date.now();
    const rows = Array.from(
      { length: ACTIONS },
      (_, at) => `${USER_MARK}${at % 50},i${at},view,${nowMs - 60_000 + at}`,
    );
    const file = inputFile('live.csv', ['userId,itemId,actionType,eventTime', ...rows]);
    await succeed(['load', file, '--format=csv', ...flags]);

    const live = new CliProcess(['run', '--http-port=0', ...flags]);
    let stderr = '';
    live.child.stderr!.on('data', (text: string) => (stderr += text));
    await live.logged('HTTP_LISTENING');
    const url = /"url":"(http:\/\/127\.0\.0\.1:(\d+))"/.exec(stderr)!;
    const get = async (path: string) => {
      const response = await fetch(`${url[1]}${path}`);
      return { code: response.status, text: await response.text() };
    };
    const until = (ask: () => Promise<unknown>) => expect.poll(ask, { timeout: 30_000, interval: 100 });

    expect((await get('/live')).code).toBe(200);
    await until(async () => (await get('/ready')).code).toBe(200);
    const accepted = `freshet_records_total{task="features",outcome="accepted"} ${ACTIONS}\n`;
    await until(async () => (await get('/metrics')).text).toContain(accepted);
    await until(async () => (await get('/metrics')).text).toContain('freshet_lag_records{task="join",partition="1"} 0');
    const { text } = await get('/metrics');
    expect(text).toContain('freshet_tasks{task="features",state="RUNNING"} 2');
    expect(text).toContain('freshet_tasks{task="join",state="RUNNING"} 2');
    expect(text).toMatch(/^freshet_freshness_event_seconds_count\{task="features"\} [1-9]/m);
    expect(text).toMatch(/^freshet_restore_progress_ratio\{task="join",partition="0"\} 1$/m);
    expect(text).not.toContain(USER_MARK);

    // The command asks the process that holds the folder.
    const status = JSON.parse(await succeed(['status', '--json', `--http-port=${url[2]}`, ...flags])) as Status;
    expect(status.partitions.map(({ features }) => features.lag)).toEqual([0, 0]);
    expect(status.partitions.reduce((sum, { features }) => sum + features.committed!, 0)).toBe(ACTIONS);

    const exit = once(live.child, 'exit');
    const stopped = await live.stop('SIGTERM');
    await exit;
    expect(stopped.exitCode).toBe(0);
    // A slow machine is told how far the run is.
    const codes = logLines(stopped).flatMap(({ code }) => (code === 'RUN_PROGRESS' ? [] : [code]));
    expect(codes).toEqual(['HTTP_LISTENING', 'RUNNING', 'CLOSED']);
    await expect(fetch(`${url[1]}/live`)).rejects.toThrow();
  });
});
