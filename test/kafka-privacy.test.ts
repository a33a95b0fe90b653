/** `freshet expire` and `freshet erase` on a real broker, with workers that come and go. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { EraseResult } from '../src/privacy/erase.ts';
import type { ExpireResult } from '../src/privacy/expire.ts';
import { freshet, jsonLines, logLines, succeed, USER_MARK } from './support/cli.ts';
import { kafkaForTests, startOwnKafka } from './support/kafka.ts';
import { tempDir } from './support/temp-dir.ts';

const LIMIT_MS = 120_000;
const [IDLE, ACTIVE] = [`${USER_MARK}idle`, `${USER_MARK}active`];
const folder = tempDir();
let env: Record<string, string>;

beforeAll(async () => {
  const { brokers } = await startOwnKafka();
  const { registry } = kafkaForTests();
  env = {
    ...{ FRESHET_BROKERS: brokers.join(','), FRESHET_REGISTRY: registry, FRESHET_DATA_DIR: join(folder, 'data') },
    ...{ FRESHET_PARTITIONS: '1', FRESHET_MODEL: packagePath('test', 'fixtures', 'intent', 'small') },
  };
  const rows = [`${IDLE},a,view,2026-01-01T00:00:00Z`, `${ACTIVE},a,view,2026-01-30T00:00:00Z`];
  const file = join(folder, 'actions.csv');
  writeFileSync(file, ['userId,itemId,actionType,eventTime', ...rows, ''].join('\n'));
  await succeed(['topics', 'apply'], { env });
  await succeed(['load', file, '--format=csv'], { env });
  await succeed(['run', '--until-end'], { env });
}, 240_000);

const expire = async (): Promise<ExpireResult> =>
  jsonLines<ExpireResult>(await succeed(['expire', '--idle=7d', '--as-of=2026-01-31T00:00:00Z', '--json'], { env })).at(
    -1,
  )!;

const newestFeatures = async (user: string): Promise<{ value: unknown } | undefined> =>
  jsonLines<{ value: unknown }>(await succeed(['read', 'sequence-features', `--user=${user}`, '--json'], { env })).at(
    -1,
  );

describe('a sweep', () => {
  it(
    'lets idle users go, once',
    async () => {
      expect(await expire()).toMatchObject({ idle: 1, pending: 0, appended: 1, complete: true });
      expect(await expire()).toMatchObject({ idle: 1, pending: 1, appended: 0 });
      await succeed(['run', '--until-end'], { env });
      expect(await newestFeatures(IDLE)).toMatchObject({ value: null });
    },
    LIMIT_MS,
  );
});

describe('an erase', () => {
  const erase = async (...more: string[]): Promise<{ result: EraseResult; exitCode: number | null }> => {
    const file = join(folder, 'id');
    writeFileSync(file, ACTIVE);
    const ran = await freshet(['erase', `--user-file=${file}`, '--json', ...more], { env });
    logLines(ran);
    expect(ran.stdout).not.toContain(USER_MARK);
    return { result: jsonLines<EraseResult>(ran.stdout).at(-1)!, exitCode: ran.exitCode };
  };

  it(
    'is proved as far as consumption and files go; compaction and retention take their time, and it says which',
    async () => {
      const waiting = await erase('--prove', '--wait=1s');
      expect(waiting).toMatchObject({ exitCode: 1, result: { appended: ['user-actions'], blanked: null } });
      expect(waiting.result.proof).toMatchObject({ proved: false, consumed: false });
      await succeed(['run', '--until-end'], { env });
      const { result, exitCode } = await erase('--prove');
      expect([exitCode, result.appended]).toEqual([1, []]);
      expect(result.proof).toMatchObject({
        ...{ proved: false, consumed: true, files: [], storesInUse: [] },
        retained: [{ topic: 'user-actions', records: 2, retentionMs: -1, leavesAtMs: null }, { records: 0 }],
      });
      // The tombstone is written; what is before it waits for compaction.
      const features = result.proof!.topics.find(({ topic }) => topic === 'sequence-features');
      expect(features).toMatchObject({ values: 1, tombstones: 1 });
    },
    LIMIT_MS,
  );
});
