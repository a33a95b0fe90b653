/** The join at request time: which scores candidates get, by which they are ranked, and what a request may run into. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ItemVersions } from '../src/intent/item-versions.ts';
import { readJoinWeights } from '../src/join/join-weights.ts';
import { requestJoin, type RequestJoinOptions } from '../src/join/request-join.ts';
import type { VersionContent } from '../src/intent/lineage-cache.ts';
import type { ItemEmbeddingRecord } from '../topics/records.ts';
import { codec, featuresRecord, JoinStream } from './join-harness.ts';
import { readModelJson } from './quality-harness.ts';
import { publishTestVersion } from './support/item-version.ts';
import { tempDir } from './support/temp-dir.ts';

// Version v1, dimension 4, scale 0.5: i1 = [1, 2, 3, 4], i2 = [-5, 6, -7, 8]; v2, a change on it: i1 = 9s, i3 = 1s.
const CLICK = [1, 0, 0, 0];
const LASTING = [0, 0, 0, 1];
const WEIGHTS = { realtime: 2, longTerm: 10 };
const SPACE = 'test-space';

let stream: JoinStream;
/** What an activation says of each version. */
const activations = new Map<string, VersionContent>();
beforeEach(async () => {
  stream = await JoinStream.open();
  await publishTestVersion(stream);
  for (const { value } of await stream.read('item-embeddings')) {
    const { version, manifest } = codec.decode<ItemEmbeddingRecord>('item-embeddings-value', value!);
    if (manifest !== null) activations.set(version, { version, ...manifest });
  }
});
afterEach(() => stream.close());

function request(userId: string, itemIds: readonly string[], more: Partial<RequestJoinOptions> = {}) {
  const { log } = stream;
  const itemVersions = new ItemVersions({ log, codec });
  const options = { log, codec, partitions: 1, itemVersions, activation: activations.get('v1')!, weights: WEIGHTS };
  return requestJoin(userId, itemIds, { ...options, ...more });
}

const score = (itemId: string, realtime: number | null, longTerm: number | null, both: number | null) => ({
  itemId,
  hasVector: true,
  ...{ realtime, longTerm, both },
});
const without = (itemId: string) => ({ itemId, hasVector: false, realtime: null, longTerm: null, both: null });

describe('candidates', () => {
  it('are ranked by both scores, weighed, where both sides are there; those without a vector last', async () => {
    await stream.features({ userId: 'u', click: CLICK });
    await stream.vector({ userId: 'u', vector: LASTING, space: SPACE });
    await stream.run();
    const { rankedBy, itemVersion, items, features } = await request('u', ['new', 'i1', 'i2', 'newer']);
    expect({ rankedBy, itemVersion }).toEqual({ rankedBy: 'both', itemVersion: 'v1' });
    expect(items).toEqual([score('i2', -2.5, 4, 35), score('i1', 0.5, 2, 21), without('new'), without('newer')]);
    expect(features).toMatchObject({ userId: 'u', hasRealtime: true, hasLongTerm: true });
  });

  it('are scored with the vectors in force now, whatever the intent was folded under', async () => {
    await stream.features({ userId: 'u', click: CLICK, itemVersion: 'v1' });
    await stream.run();
    const { itemVersion, items } = await request('u', ['i2', 'i1', 'i3'], { activation: activations.get('v2')! });
    expect(itemVersion).toBe('v2');
    expect(items).toEqual([score('i1', 4.5, null, null), score('i3', 0.5, null, null), score('i2', -2.5, null, null)]);
  });

  it('are ranked by the realtime score without a long-term vector, or with one of another space', async () => {
    await stream.features({ userId: 'u', click: CLICK });
    await stream.features({ userId: 'v', click: CLICK });
    await stream.vector({ userId: 'v', vector: LASTING, space: 'another-space' });
    await stream.run();
    for (const userId of ['u', 'v']) {
      const { rankedBy, items } = await request(userId, ['i2', 'i1']);
      expect(rankedBy).toBe('realtime');
      expect(items).toEqual([score('i1', 0.5, null, null), score('i2', -2.5, null, null)]);
    }
  });

  it('are ranked by the long-term score without a realtime side', async () => {
    await stream.vector({ userId: 'u', vector: LASTING, space: SPACE });
    await stream.run();
    const { rankedBy, items } = await request('u', ['i1', 'i2']);
    expect(rankedBy).toBe('longTerm');
    expect(items).toEqual([score('i2', null, 4, null), score('i1', null, 2, null)]);
  });

  it('are ranked by the long-term score where the intent is not finite', async () => {
    const features = { ...featuresRecord({ userId: 'u', click: [0, 0, 0, 0] }), finite: false };
    await stream.append('sequence-features', 'u', codec.encode('sequence-features-value', features));
    await stream.vector({ userId: 'u', vector: LASTING, space: SPACE });
    await stream.run();
    const { rankedBy, items } = await request('u', ['i1', 'i2']);
    expect(rankedBy).toBe('longTerm');
    expect(items).toEqual([score('i2', null, 4, null), score('i1', null, 2, null)]);
  });

  it('keep their order where there is nothing to rank them by', async () => {
    await stream.vector({ userId: 'u', space: 'another-space' });
    await stream.run();
    const { rankedBy, items } = await request('u', ['i2', 'i1']);
    expect(rankedBy).toBe('none');
    expect(items).toEqual([score('i2', null, null, null), score('i1', null, null, null)]);
  });

  it('have no vectors before any activation', async () => {
    await stream.features({ userId: 'u', itemVersion: null });
    await stream.run();
    const { itemVersion, items } = await request('u', ['i2', 'i1', 'i2'], { activation: null });
    expect(itemVersion).toBeNull();
    expect(items).toEqual([without('i2'), without('i1'), without('i2')]);
  });

  it('with equal scores keep their order', async () => {
    await stream.features({ userId: 'u', click: [0, 0, 0, 0] });
    await stream.run();
    for (const itemIds of [
      ['i1', 'i2'],
      ['i2', 'i1'],
    ]) {
      expect((await request('u', itemIds)).items.map(({ itemId }) => itemId)).toEqual(itemIds);
    }
  });
});

describe('a request fails', () => {
  it('with UNKNOWN_USER for a user never seen and for one that was erased, and names neither', async () => {
    await stream.features({ userId: 'erased-user' });
    await stream.run();
    await stream.append('sequence-features', 'erased-user', null);
    await stream.run();
    for (const userId of ['erased-user', 'strange-user']) {
      const failure = await request(userId, ['i1']).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'UNKNOWN_USER', exitCode: 3 });
      expect(String(failure)).not.toContain(userId);
    }
  });

  it('with VECTOR_INVALID where vectors of one space differ in dimension', async () => {
    await stream.features({ userId: 'u', click: CLICK });
    await stream.vector({ userId: 'u', vector: [1, 2], space: SPACE });
    await stream.run();
    await expect(request('u', ['i1'])).rejects.toMatchObject({ code: 'VECTOR_INVALID' });
  });

  it('with ITEM_VERSION_INCOMPLETE where the activated table is not whole', async () => {
    await stream.vector({ userId: 'u' });
    await stream.run();
    const activation = { version: 'v1', rowCount: 7, contentHash: 'other', space: SPACE };
    await expect(request('u', ['i1'], { activation })).rejects.toMatchObject({ code: 'ITEM_VERSION_INCOMPLETE' });
  });
});

describe('the weights', () => {
  const SHIPPED = readModelJson<object>('ranker', 'card.json');
  /** The shipped card with another join section, which is JSON. */
  const cardOf = (section: string): string => JSON.stringify(SHIPPED).replace(/}$/, `, "join": ${section}}`);

  function cardWith(text: string): string {
    const folder = join(tempDir(), 'ranker');
    mkdirSync(folder);
    writeFileSync(join(folder, 'card.json'), text);
    return folder;
  }

  it('are read from the ranker’s card', async () => {
    const card = cardOf('{"what": "a sum", "weights": {"realtime": 0.5, "longTerm": 2, "noVector": 1}}');
    expect(await readJoinWeights(cardWith(card))).toEqual({ realtime: 0.5, longTerm: 2 });
  });

  it('of the shipped ranker can be read', async () => {
    const weights = await readJoinWeights();
    expect(Object.values(weights).every((weight) => weight > 0)).toBe(true);
  });

  it.each([
    ['not JSON', '{', 'is not JSON'],
    ['no object', '3', 'expected object'],
    ['without a join section', cardOf('null'), 'join: '],
    ['without a weight', cardOf('{"weights": {"realtime": 1}}'), 'join.weights.longTerm: '],
    ['with a weight that is no number', cardOf('{"weights": {"realtime": 1, "longTerm": "2"}}'), 'longTerm: '],
    ['with a weight beyond all numbers', cardOf('{"weights": {"realtime": 1, "longTerm": 1e999}}'), 'longTerm: '],
  ])('are refused with MODEL_INVALID from a card that is %s', async (_, text, problem) => {
    const message = expect.stringContaining(problem) as string;
    await expect(readJoinWeights(cardWith(text))).rejects.toMatchObject({ code: 'MODEL_INVALID', message });
  });

  it('are refused with MODEL_INVALID where there is no card', async () => {
    await expect(readJoinWeights(tempDir())).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });
});
