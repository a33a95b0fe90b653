/** `freshet model scores`: what a card's `scores` are made with, and what `run` then compares. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import type { ScoreDistribution } from '../src/intent/score-distribution.ts';
import { freshet, inputFile, succeed } from './support/cli.ts';
import { tempDir } from './support/temp-dir.ts';

const folder = tempDir();
const model = join(folder, 'model');
const cardFile = join(model, 'card.json');
const flags = ['--partitions=1', `--model=${model}`, `--data-dir=${join(folder, 'data')}`];
const START_MS = Date.UTC(2016, 10, 30, 23, 50);
const ACTIONS = 120;
/** Until the card's training ends, at midnight. */
const BEFORE = 60;

const card = (): Record<string, unknown> => JSON.parse(readFileSync(cardFile, 'utf8')) as Record<string, unknown>;

beforeAll(async () => {
  cpSync(packagePath('test', 'fixtures', 'intent', 'small'), model, { recursive: true });
  const rows = Array.from({ length: ACTIONS }, (_, at) => `u${at % 5},i${at % 9},view,${START_MS + at * 10_000}`);
  const file = inputFile('scores.csv', ['userId,itemId,actionType,eventTime', ...rows]);
  await succeed(['load', file, '--format=csv', ...flags]);
});

describe('freshet model scores', () => {
  it('prints the distribution up to the end of training, and leaves the card alone', async () => {
    const before = card();
    const found = JSON.parse(await succeed(['model', 'scores', ...flags])) as ScoreDistribution & { what: string };
    expect(found.what).toContain('before 2016-12-01T00:00:00Z');
    expect(found.count).toBe(BEFORE);
    const { outcomes, actionTypes } = before as { outcomes: string[]; actionTypes: string[] };
    expect(found.quantities.map(({ name }) => name)).toEqual([
      ...outcomes.map((outcome) => `intent:${outcome}`),
      ...actionTypes.map((type) => `propensity:${type}`),
    ]);
    expect(card()).toEqual(before);
  });

  it('writes it into the card, which is loaded with it', async () => {
    const before = card();
    const printed: unknown = JSON.parse(await succeed(['model', 'scores', '--to=2016-12-02', '--write', ...flags]));
    expect(card()).toEqual({ ...before, scores: printed });
    expect(printed).toMatchObject({ count: ACTIONS });
    expect(JSON.parse(await succeed(['run', '--until-end', ...flags]))).toMatchObject({ records: ACTIONS });
  });

  it('is wrong use for a stretch without actions', async () => {
    const { exitCode, stderr } = await freshet(['model', 'scores', '--to=2016-01-01', ...flags]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('the log has no action of that time')]);
  });
});
