/** The demo on Kafka ends as the one on the embedded log: the same counts, and the newest features of every user byte for byte. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DemoResult } from '../src/demo/demo.ts';
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
      const { result: one } = await sharedDemo();
      // How often a user is written depends on where commits are cut, and the speed on the machine.
      const { features, actionsPerSecond, seconds, ...same } = other;
      expect(same).toEqual(Object.fromEntries(Object.keys(same).map((name) => [name, one[name as keyof DemoResult]])));
      expect(Math.min(features, actionsPerSecond, seconds)).toBeGreaterThan(0);

      const hashed = lastJson<DeploymentHash>(await succeed(['inspect', '--hash', '--json', ...at]));
      expect(hashed).toMatchObject({ users: other.users, featuresHash: other.featuresHash });

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
