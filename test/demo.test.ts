/** The demo as a visitor runs it: what it says, that what it prints works, and that a second run says the same. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { DemoResult } from '../src/demo/demo.ts';
import { tempDir } from './support/temp-dir.ts';

const LIMIT_MS = 120_000;

async function freshet(...args: string[]): Promise<string> {
  const options = { cwd: packagePath(), maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, ['bin/freshet.js', ...args], options);
  return stdout;
}

const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1)!;

describe('freshet demo', () => {
  const dataDir = join(tempDir(), 'demo');

  it(
    'plays the whole log and tells what came of it, twice the same',
    async () => {
      const text = await freshet('demo', `--data-dir=${dataDir}`);
      const [user] = /(?<=--user=)\S+/.exec(text)!;
      expect(text).toContain('72,312 actions read, 70,028 accepted');
      expect(text).toMatch(/realtime +0\.\d+ .*over the baseline/);

      // Every command it prints works as printed, but for npx, which is not what is tested.
      const commands = [...text.matchAll(/npx freshet (.+)/g)].map(([, args]) => args!.split(' '));
      expect(commands.length).toBeGreaterThanOrEqual(5);
      for (const args of commands) expect(await freshet(...args)).not.toBe('');
      const inspected = JSON.parse(
        await freshet('inspect', `--user=${user}`, '--json', `--data-dir=${dataDir}`),
      ) as object;
      expect(inspected).toMatchObject({ userId: user });

      const demo = JSON.parse(lastLine(await freshet('demo', '--json', `--data-dir=${dataDir}`))) as DemoResult;
      expect(demo).toMatchObject({
        actionsRead: 72_312,
        accepted: 70_028,
        rejected: { duplicate: 2_284, late: 0, future: 0 },
        users: 1_895,
        ranked: 1_895,
      });
      expect(demo.accepted + Object.values(demo.rejected).reduce((sum, count) => sum + count, 0)).toBe(
        demo.actionsRead,
      );
      expect(text).toContain(`${demo.features.toLocaleString('en-US')} sequence-features`);
      const gain = demo.quality.differences.find(
        ({ arm, other, metric }) => arm === 'np+intent' && other === 'np' && metric === 'mrr',
      );
      expect(gain!.low).toBeGreaterThan(0);
    },
    LIMIT_MS * 2,
  );

  it('refuses a folder that holds something else', async () => {
    const folder = join(tempDir(), 'mine');
    mkdirSync(folder);
    writeFileSync(join(folder, 'precious'), 'data');
    await expect(freshet('demo', `--data-dir=${folder}`)).rejects.toMatchObject({ code: 2 });
  });
});
