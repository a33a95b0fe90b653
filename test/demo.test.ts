/** The demo as a visitor runs it: what it says, that what it prints works, and that it begins anew. */
import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../src/base/config.ts';
import { packagePath } from '../src/base/package-root.ts';
import { backfill } from '../src/dataset/backfill.ts';
import { records } from '../src/log/newest.ts';
import { verify } from '../src/replay/verify.ts';
import { Deployment } from '../src/run/deployment.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { randomFrom } from './support/random.ts';
import { freshet, LEFT_BEHIND, sharedDemo } from './support/shared-demo.ts';
import { tempDir } from './support/temp-dir.ts';

const LIMIT_MS = 120_000;
const VERIFIED_STARTS = 20;
const SEED = randomInt(2 ** 31);

describe('freshet demo', () => {
  it(
    'plays the whole log and tells what came of it, over what an earlier one has left',
    async () => {
      const { dataDir, text } = await sharedDemo();
      for (const left of LEFT_BEHIND) {
        const file = join(dataDir, left);
        expect(existsSync(file) && readFileSync(file, 'utf8')).not.toBe('an earlier demo');
      }
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

      expect(text).toContain('not taken as new: 2,284 duplicate, 0 late, 0 future');
      expect(text).toContain('1,895 users joined and scored');
      const [, low] = /\n {2}realtime .* \[([+-]0\.\d+), .* over the baseline/.exec(text)!;
      expect(Number(low)).toBeGreaterThan(0);
    },
    LIMIT_MS * 2,
  );

  it(
    'left features that a backfill makes again, to the bit: of every record, for a label just behind its version',
    async () => {
      const { dataDir } = await sharedDemo();
      const config = loadConfig({ env: {}, flags: { dataDir }, cwd: packagePath() });
      const deployment = await Deployment.open(config, pino({ level: 'silent' }));
      const { log, codec } = deployment;
      const emitted = new Map<string, string>();
      const labels = ['userId,position'];
      for (let partition = 0; partition < config.partitions; partition += 1) {
        const at = { topic: 'sequence-features', partition };
        for await (const { value } of records(log, at, 0, await log.endOffset(at))) {
          const { userId, version } = codec.decode<SequenceFeaturesRecord>('sequence-features-value', value!);
          emitted.set(`${partition} ${version}`, codec.body(value!).toString('base64'));
          labels.push(`${userId},${version + 1}`);
        }
      }
      const file = join(tempDir(), 'labels.csv');
      writeFileSync(file, `${labels.join('\n')}\n`);
      const out = join(tempDir(), 'rows');
      const lag = { featuresMs: 0, vectorsMs: 0 };
      const scorer = await deployment.loadScorer();
      await backfill({ ...deployment, scorer, source: { kind: 'file', file }, out, lag, withRecord: true });
      await deployment.close();

      const columns = ['partition', 'version', 'record'];
      const parquet = await asyncBufferFromFile(join(out, 'part-00000.parquet'));
      const rows = await parquetReadObjects({ file: parquet, columns, compressors, utf8: false });
      expect(emitted.size).toBeGreaterThan(12_000);
      expect(rows).toHaveLength(emitted.size);
      const differing = rows.filter(({ partition, version, record }) => {
        const body = Buffer.from(record as Uint8Array).toString('base64');
        return emitted.get(`${partition as number} ${version as bigint}`) !== body;
      });
      expect(differing).toEqual([]);
    },
    LIMIT_MS,
  );

  it(
    `left features that a verification finds equal behind whichever offset it begins at (seed ${SEED})`,
    async () => {
      const { dataDir } = await sharedDemo();
      const config = loadConfig({ env: {}, flags: { dataDir }, cwd: packagePath() });
      const logger = pino({ level: 'silent' });
      const deployment = await Deployment.open(config, logger);
      const scorer = await deployment.loadScorer();
      const random = randomFrom(SEED);
      for (let start = 0; start < VERIFIED_STARTS; start += 1) {
        const partition = Math.floor(random() * config.partitions);
        const end = await deployment.log.endOffset({ topic: 'user-actions', partition });
        const from = Math.floor(random() * end);
        const report = await verify({ ...deployment, scorer, stretches: [{ partition, from, to: end }] });
        expect(report, `partition ${partition} from ${from}`).toMatchObject({
          ...{ equal: report.compared, differing: 0, missing: 0, extra: 0, unverifiable: 0, causes: [], gaps: [] },
        });
        expect(report.compared).toBeGreaterThan(0);
      }
      await deployment.close();
    },
    LIMIT_MS,
  );

  it('refuses a folder that holds something else', async () => {
    const folder = join(tempDir(), 'mine');
    mkdirSync(folder);
    writeFileSync(join(folder, 'precious'), 'data');
    await expect(freshet('demo', `--data-dir=${folder}`)).rejects.toMatchObject({ code: 2 });
  });
});
