/** Every user's candidates scored from the joined features: what a ranking tier would do with the output topic. */
import { itemsInForce } from '../join/items-in-force.ts';
import { readJoinWeights } from '../join/join-weights.ts';
import { rankItems } from '../join/request-join.ts';
import { records } from '../log/newest.ts';
import type { Deployment } from '../run/deployment.ts';
import { newestActivation } from '../task/newest-activation.ts';
import type { RankingFeaturesRecord } from '../../topics/records.ts';

/** Users with ranking features, and how many of them have a side by which at least one of the items could be scored. */
export async function scoreUsers(
  { log, codec, config, itemVersions }: Deployment,
  itemIds: readonly string[],
): Promise<{ users: number; ranked: number }> {
  const weights = await readJoinWeights();
  const items = await itemsInForce(await newestActivation(log, codec), itemVersions);
  let users = 0;
  let ranked = 0;
  for (let partition = 0; partition < config.partitions; partition += 1) {
    const at = { topic: 'ranking-features', partition };
    const newest = new Map<string, Buffer>();
    for await (const { key, value } of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
      if (value === null) newest.delete(key!.toString());
      else newest.set(key!.toString(), value);
    }
    users += newest.size;
    for (const value of newest.values()) {
      const features = codec.decode<RankingFeaturesRecord>('ranking-features-value', value);
      const result = rankItems(features, itemIds, items, weights);
      if (result.rankedBy !== 'none' && result.items.some((item) => item.hasVector)) ranked += 1;
    }
  }
  return { users, ranked };
}
