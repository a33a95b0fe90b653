/** Two configurations side by side: what differs is told, and nothing else. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, type Config } from '../src/base/config.ts';
import { FreshetError } from '../src/base/errors.ts';
import { activateVersion } from '../src/ingest/activate.ts';
import { userHash } from '../src/base/user-hash.ts';
import { resolveStretches } from '../src/replay/range.ts';
import { changedConfig, changesIn, parseChange } from '../src/replay/what-if-config.ts';
import { checkLimits, parseLimit } from '../src/replay/what-if-limits.ts';
import { Sketch, WhatIfSummary } from '../src/replay/what-if-summary.ts';
import { compareSides, type WhatIfOptions } from '../src/replay/what-if.ts';
import type { SequenceFeaturesRecord } from '../topics/records.ts';
import { Application } from './support/application.ts';
import { ChaosInput } from './support/chaos/input.ts';
import { fakeScorer } from './support/fake-scorer.ts';
import { actionRecord } from './support/stream.ts';
import { FC_OPTIONS } from './support/seed.ts';
import { fastDir } from './support/temp-dir.ts';

const SEQUENCES = [{ name: 'engagement', actionTypes: 'all', windowSize: 10, sealSize: 4, maxAgeMs: null }];
const PARTITIONS = 2;
const ACTIONS = 1_500;
const BUSY = 'user-busy';

let app: Application;

async function opened(config?: Config): Promise<Application> {
  const { sequences = SEQUENCES } = config ?? {};
  const made = await Application.open({ partitions: PARTITIONS, commitMaxRecords: 1_000, sequences });
  const { codec, log } = made.stream;
  const { space, dimension } = made.scorer;
  const input = new ChaosInput({ codec, partitions: PARTITIONS, seed: 9, dimension, space });
  await log.append(input.itemVersion('v1'));
  await activateVersion(log, codec, 'v1', { space, timestampMs: 0 });
  await log.append(input.actions(ACTIONS));
  const busy = (at: number) => actionRecord({ userId: BUSY, itemId: `item-${at}`, eventTimeMs: at * 1_000 });
  await made.append(Array.from({ length: 13 }, (_, at) => busy(at)));
  return made;
}

beforeAll(async () => {
  app = await opened();
});
afterAll(() => app.close());

async function compare(changes: readonly string[], more: Partial<WhatIfOptions> = {}) {
  const { log, codec, itemVersions, config } = app.deployment;
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => partition);
  const summary = new WhatIfSummary({ showUsers: false });
  const counts = await compareSides({
    ...{ log, codec, itemVersions, summary, users: undefined, sample: 0 },
    base: { config, scorer: fakeScorer() },
    variant: { config: changedConfig(config, changes.map(parseChange), '/'), scorer: fakeScorer() },
    stretches: await resolveStretches({ log, partitions, from: undefined, to: undefined }),
    folder: mkdtempSync(join(fastDir(), 'what-if-')),
    logger: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...more,
  });
  const features = new Map(summary.features.map((each) => [each.feature, each]));
  return { counts, summary, features };
}

describe('what if', () => {
  it('nothing is changed: nothing differs', async () => {
    const { counts, summary } = await compare(['sequences.0.windowSize=10'], { sample: 1 });
    expect(counts).toMatchObject({ records: ACTIONS + 13 + PARTITIONS, onlyBase: 0, onlyVariant: 0, complete: true });
    expect(summary.compared).toBeGreaterThan(ACTIONS * 0.8);
    expect(summary.changed).toBe(0);
    expect(summary.features.filter(({ changed, max }) => changed > 0 || max > 0)).toEqual([]);
    expect(summary.users).toEqual([]);
  });

  it('the window is smaller: as two applications differ that ran with either', async () => {
    const { counts, summary, features } = await compare(['sequences.0.windowSize=5', 'sequences.0.sealSize=2']);
    const variant = await opened(
      changedConfig(app.config, [parseChange('sequences.0.windowSize=5'), parseChange('sequences.0.sealSize=2')], '/'),
    );
    const [base, other] = [await newest(app), await newest(variant)];
    expect(counts.users).toBe(base.size);
    expect(summary.compared).toBe(base.size);
    let [sealed, intent, largest] = [0, 0, 0];
    for (const [userId, one] of base) {
      const two = other.get(userId)!;
      const bySealed = Math.abs(one.sequences[0]!.sealed - two.sequences[0]!.sealed);
      if (bySealed > 0) sealed += 1;
      if (JSON.stringify(one.intent) !== JSON.stringify(two.intent)) intent += 1;
      largest = Math.max(largest, bySealed);
    }
    expect(features.get('engagement.sealed')).toMatchObject({ changed: sealed / base.size, max: largest });
    expect(features.get('intent.click')!.changed).toBe(intent / base.size);
    expect(intent).toBeGreaterThan(5);
    expect(features.get('envelope.accepted')!.changed).toBeLessThan(features.get('intent.click')!.changed);
    await variant.close();
  });

  it('tells those most changed by the hash of their id, in order', async () => {
    const { summary } = await compare(['sequences.0.windowSize=3', 'sequences.0.sealSize=1']);
    const { users } = summary;
    expect(users).toHaveLength(10);
    expect(users.map(({ intent }) => intent)).toEqual(users.map(({ intent }) => intent).sort((a, b) => b - a));
    const base = await newest(app);
    const known = new Map(Array.from(base.values(), (each) => [userHash(each.userId), each]));
    for (const { user, version, partition } of users) expect(known.get(user)).toMatchObject({ version, partition });
  });

  it('a sequence comes, goes or takes other types: told by its name', async () => {
    const other = [...SEQUENCES, { ...SEQUENCES[0]!, name: 'saves', actionTypes: ['bookmark'] }];
    const { features } = await compare([`sequences=${JSON.stringify(other)}`]);
    expect(features.get('saves.length')!.changed).toBeGreaterThan(0);
    expect(features.get('engagement.length')).toMatchObject({ changed: 0 });
  });

  it('fewer action types are taken: users that are only in the base are counted', async () => {
    const { counts } = await compare(['actionTypes=["like","view"]', 'undo={}']);
    expect(counts.onlyBase).toBeGreaterThan(0);
    expect(counts.onlyVariant).toBe(0);
  });

  it('samples versions before the newest of each user', async () => {
    const none = await compare(['sequences.0.windowSize=5']);
    const half = await compare(['sequences.0.windowSize=5'], { sample: 0.5 });
    const more = half.summary.compared - none.summary.compared;
    expect(more / ACTIONS).toBeGreaterThan(0.35);
    expect(more / ACTIONS).toBeLessThan(0.65);
  });
});

/** Of the application, run to the end of its input. */
async function newest(made: Application): Promise<Map<string, SequenceFeaturesRecord>> {
  await made.run();
  const { stream } = made;
  const found = new Map<string, SequenceFeaturesRecord>();
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    for (const { key, value } of await stream.read('sequence-features', partition)) {
      if (value === null) found.delete(key!.toString());
      else found.set(key!.toString(), stream.codec.decode<SequenceFeaturesRecord>('sequence-features-value', value));
    }
  }
  return found;
}

describe('the configuration to compare with', () => {
  const config = loadConfig({ env: {}, flags: {}, cwd: '/' });
  const changed = (...changes: string[]) => changedConfig(config, changes.map(parseChange), '/work');

  it('has the changes and all else of the base', () => {
    const sequences = [{ ...config.sequences[0], windowSize: 50 }];
    expect(changed('sequences.0.windowSize=50', 'sessionGapMs=1000')).toEqual({
      ...config,
      sequences,
      sessionGapMs: 1_000,
    });
  });

  it('takes keys from a file, and a model relative to the working folder', () => {
    const changes = changesIn('{"model": "models/next", "counterHalfLivesMs": [5]}', 'a.json');
    expect(changedConfig(config, changes, '/srv/freshet')).toMatchObject({
      model: '/srv/freshet/models/next',
      counterHalfLivesMs: [5],
    });
  });

  it.each([
    ['dataDir=/x', 'CONFIG_UNKNOWN_KEY'],
    ['sequence.0.windowSize=1', 'CONFIG_UNKNOWN_KEY'],
    ['sequences.3.windowSize=1', 'CONFIG_UNKNOWN_KEY'],
    ['sequences.0.windowSiz=1', 'CONFIG_INVALID'],
    ['sequences.0.windowSize=many', 'CONFIG_INVALID'],
    ['scoredSequence=none', 'CONFIG_INVALID'],
    ['sessionGapMs', 'USAGE'],
  ])('is refused with %s: %s', (change, code) => {
    expect(codeThrown(() => changed(change))).toBe(code);
  });
});

describe('limits', () => {
  it('name a metric and a number', () => {
    expect(parseLimit('loss.np+intent.mrr:0.002')).toEqual({ metric: 'loss.np+intent.mrr', limit: 0.002 });
    for (const text of ['a', 'a:', ':1', 'a:b', 'a:-1']) expect(codeThrown(() => parseLimit(text))).toBe('USAGE');
  });

  it('are passed by what is above them, and unknown metrics are named', () => {
    const metrics = new Map([['a.p99', 0.5]]);
    expect(
      checkLimits([parseLimit('a.p99:0.5'), parseLimit('a.p99:0.4')], metrics).map(({ passed }) => passed),
    ).toEqual([false, true]);
    expect(codeThrown(() => checkLimits([parseLimit('a.p9:1')], metrics))).toBe('USAGE');
  });
});

describe('a sketch', () => {
  it('gives quantiles within 2 % of the exact ones, those of zeros included', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-9, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 60 }),
        fc.nat(30),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, zeros, share) => {
          const sketch = new Sketch();
          for (const value of values) sketch.add(value);
          const sorted = [...Array.from({ length: zeros }, () => 0), ...values].sort((a, b) => a - b);
          const exact = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
          const found = sketch.quantile(share, sorted.length);
          expect(found).toBeGreaterThanOrEqual(exact * (1 - 1e-9));
          expect(found).toBeLessThanOrEqual(exact * (1.02 + 1e-9));
        },
      ),
      FC_OPTIONS,
    );
  });
});

function codeThrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FreshetError) return error.code;
    throw error;
  }
  return 'fine';
}
