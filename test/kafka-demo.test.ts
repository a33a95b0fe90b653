/** The demo on Kafka ends as the one on the embedded log: the same counts, and the newest features of every user byte for byte. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DemoResult } from '../src/demo/demo.ts';
import { count } from '../src/demo/play.ts';
import { qualityText } from '../src/demo/text.ts';
import type { DeploymentHash } from '../src/run/inspect.ts';
import { freshet, jsonLines, logLines, succeed } from './support/cli.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { sharedDemo } from './support/shared-demo.ts';
import { tempDir } from './support/temp-dir.ts';

const LIMIT_MS = 400_000;
const folder = tempDir();
const lastJson = <T>(text: string): T => jsonLines<T>(text).at(-1)!;

describe('freshet demo --kafka', () => {
  it(
    'ends with the same newest features of every user as without',
    async () => {
      const { brokers } = await startOwnKafka();
      const { registry } = kafkaForTests();
      const at = [`--brokers=${brokers.join(',')}`, `--registry=${registry}`, `--data-dir=${join(folder, 'kafka')}`];
      const other = lastJson<DemoResult>(await succeed(['demo', '--kafka', '--json', ...at]));
      const { text, hash: embedded } = await sharedDemo();
      // Not how often a user was written, which depends on where commits are cut, nor the speed of the machine.
      const { actionsRead, accepted, rejected, users, ranked, featuresHash, quality } = other;
      expect(rejected).toEqual({ duplicate: 2_284, late: 0, future: 0 });
      expect(text).toContain(
        `${count(actionsRead)} actions read, ${count(accepted)} accepted; not taken as new: 2,284 `,
      );
      expect(text).toContain(`${count(ranked)} users joined and scored`);
      expect(text).toContain(qualityText(quality));
      expect(Math.min(other.features, other.actionsPerSecond, other.seconds)).toBeGreaterThan(0);

      const hashed = lastJson<DeploymentHash>(await succeed(['inspect', '--hash', '--json', ...at]));
      for (const each of [hashed, embedded]) expect(each).toMatchObject({ users, featuresHash });

      const again = await freshet(['demo', '--kafka', ...at]);
      expect([again.exitCode, again.stdout]).toEqual([2, '']);
      expect(logLines(again).at(-1)).toMatchObject({ code: 'USAGE', topic: 'user-actions' });
    },
    LIMIT_MS,
  );

  it('refuses brokers that it is not told to use', async () => {
    const result = await freshet(['demo', '--brokers=localhost:9', '--registry=http://localhost:9']);
    expect([result.exitCode, result.stdout]).toEqual([2, '']);
  });
});
