/** `freshet vectors build`: one version of item and user vectors from the actions that the log holds. */
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { checkVersionName, readManifests } from '../ingest/item-version.ts';
import type { Log } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER } from '../../topics/index.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { DailyVectors } from './daily.ts';
import type { Recipes } from './recipes.ts';

export interface BuildOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  readonly recipes: Recipes;
  readonly version: string;
  /** Only actions before this time count, milliseconds since the epoch. */
  readonly asOfMs: number;
}

export interface BuildResult {
  readonly version: string;
  readonly actions: number;
  readonly records: number;
}

/** Publishes and activates the version in one append. Throws USAGE, VECTOR_VERSION_EXISTS. */
export async function buildVersion({
  log,
  codec,
  config,
  recipes,
  version,
  asOfMs,
}: BuildOptions): Promise<BuildResult> {
  checkVersionName(version);
  if ((await readManifests(log, codec)).has(version)) throw new FreshetError('VECTOR_VERSION_EXISTS', version);
  const vectors = new DailyVectors({ codec, partitions: config.partitions, ...recipes });
  let actions = 0;
  for (let partition = 0; partition < config.partitions; partition += 1) {
    for await (const action of actionsOf(log, codec, partition)) {
      if (action.eventTimeMs >= asOfMs) continue;
      vectors.add(action);
      actions += 1;
    }
  }
  const published = vectors.cut(version, asOfMs);
  await log.append(published);
  return { version, actions, records: published.length };
}

/** The actions of a partition that can be read; what cannot is the task's to reject. */
async function* actionsOf(log: Log, codec: Codec, partition: number): AsyncGenerator<UserActionRecord> {
  const at = { topic: 'user-actions', partition };
  for await (const record of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
    if (record.value === null || record.headers[CONTROL_HEADER] !== undefined) continue;
    await codec.learn([record]);
    try {
      yield codec.decode<UserActionRecord>('user-actions-value', record.value, record.headers);
    } catch (error) {
      if (!(error instanceof FreshetError)) throw error;
    }
  }
}
