/** The input of the killed runs: the first part of the shipped log, item vectors that change on the way, and long-term vectors. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packagePath } from '../../src/base/package-root.ts';
import type { Scorer } from '../../src/intent/scorer.ts';
import { activateVersion } from '../../src/ingest/activate.ts';
import { loadActions } from '../../src/ingest/load-actions.ts';
import { loadItemVectors } from '../../src/ingest/load-item-vectors.ts';
import { loadUserVectors } from '../../src/ingest/load-user-vectors.ts';
import { openDeployment } from './kill-deployment.ts';

const ITEM_COLUMN = 2;
const USER_COLUMN = 3;
const PARTS = 3;
/** As many as fifty runs need: the whole log would double the time of the test. */
const ACTIONS = 30_000;
/** 2016-03-14, when the log begins. */
const FIRST_DAY_MS = 1_457_913_600_000;

/** Loads the first 30,000 actions of the Deskdrop log into `folder`, a third at a time, each behind the activation of another version. */
export async function loadKillInput(folder: string, { space, dimension }: Scorer): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const deployment = await openDeployment(folder, 1);
  const { log, codec, config } = deployment;
  const [header = '', ...all] = gunzipSync(readFileSync(packagePath('data', 'deskdrop', 'actions.csv.gz')))
    .toString()
    .trimEnd()
    .split('\n');
  const rows = all.slice(0, ACTIONS);
  const ids = (column: number): string[] => [...new Set(rows.map((row) => row.split(',')[column]!))];
  const vectors = { log, codec, space, format: 'ndjson' } as const;

  for (let part = 0; part < PARTS; part += 1) {
    const version = `v${part}`;
    // From version to version every third item changes its vector, and the base goes on behind the others.
    const items = ids(ITEM_COLUMN).filter((_, index) => part === 0 || index % PARTS === part);
    const itemFile = write(
      folder,
      `${version}.ndjson`,
      items.map((itemId) => JSON.stringify({ itemId, vector: vectorOf(itemId + version, dimension) })),
    );
    await loadItemVectors({
      ...vectors,
      file: itemFile,
      version,
      timestampMs: part,
      ...(part > 0 && { base: `v${part - 1}` }),
    });
    await activateVersion(log, codec, version, { space, timestampMs: part });

    const length = Math.ceil(rows.length / PARTS);
    const file = write(folder, `part-${part}.csv`, [header, ...rows.slice(part * length, (part + 1) * length)]);
    await loadActions({ log, codec, file, dataDir: config.dataDir, format: 'deskdrop' });
  }
  const users = ids(USER_COLUMN).map((userId) =>
    JSON.stringify({ userId, vector: vectorOf(userId, dimension), asOf: FIRST_DAY_MS }),
  );
  await loadUserVectors({ ...vectors, file: write(folder, 'users.ndjson', users), version: 'users' });
  await deployment.close();
}

function write(folder: string, name: string, lines: readonly string[]): string {
  const file = join(folder, name);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** A vector that any id has: components between −1 and 1. */
function vectorOf(id: string, dimension: number): number[] {
  let state = 2_166_136_261;
  for (const char of id) state = Math.imul(state ^ char.charCodeAt(0), 16_777_619);
  return Array.from({ length: dimension }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state / 2 ** 31;
  });
}
