/** `freshet vectors build`: one version of item and user vectors from the actions that the log holds. */
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { checkVersionName, readManifests } from '../ingest/item-version.ts';
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { actionsByEventTime } from './actions-by-event-time.ts';
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
  for await (const action of actionsByEventTime(log, codec)) {
    if (action.eventTimeMs >= asOfMs) continue;
    vectors.add(action);
    actions += 1;
  }
  const published = vectors.cut(version, asOfMs);
  await log.append(published);
  return { version, actions, records: published.length };
}
