/** The report of the models against the cards of the models that are committed. */
import { describe, expect, it } from 'vitest';
import { readModelJson } from './quality-harness.ts';
import { reportProblems } from './support/model-report.ts';

const PLACE = { dataset: 'deskdrop', task: 'next unseen item', metric: 'mrr', seeds: 3 };
const REPORT = {
  rows: [
    { ...PLACE, arm: 'np', mean: 0.5574, low: 0.55, high: 0.565 },
    { ...PLACE, arm: 'np+intent', mean: 0.5808, low: 0.573, high: 0.589 },
    { ...PLACE, arm: 'np+intent - np', mean: 0.0234, low: 0.0183, high: 0.0288 },
    { ...PLACE, arm: 'np', metric: 'recall10', mean: 0.88, low: 0.87, high: 0.89 },
  ],
  costs: [{ arm: 'gru', parameters: 32_000, mflop: 0.0511, actionsPerSecond: 100_000 }],
};
const CLAIM = { arm: 'np+intent - np', metric: 'mrr', mean: 0.0234, low: 0.0183, high: 0.0288 };
const CARD = {
  name: 'intent',
  quality: { dataset: 'deskdrop', task: 'next unseen item', differences: [CLAIM] },
  megaflopPerAction: 0.0511,
  parameters: 32_000,
  costArm: 'gru',
};
const claiming = (change: object): object => ({
  ...CARD,
  quality: { ...CARD.quality, differences: [{ ...CLAIM, ...change }] },
});
const rowsWith = (index: number, change: object): object => ({
  ...REPORT,
  rows: REPORT.rows.map((row, at) => (at === index ? { ...row, ...change } : row)),
});

describe('a report', () => {
  it('that agrees with the cards has no problems', () => {
    expect(reportProblems(REPORT, { intent: CARD })).toEqual([]);
    const { differences } = CARD.quality;
    expect(reportProblems(REPORT, { intent: { ...CARD, quality: { differences } } })).toEqual([]);
    expect(reportProblems(REPORT, { intent: claiming({ mean: 0.0235 }) })).toEqual([]); // the last digit may be rounded
    const other = claiming({ arm: 'np+gru - np', reportArm: 'np+intent - np', mean: 0.021, low: 0.01, high: 0.03 });
    expect(reportProblems(REPORT, { intent: other })).toEqual([]); // another training, within the report's interval
    const seeds = [0.58, 0.5816, 0.9];
    const more = rowsWith(1, { seeds, mean: 0.6872, low: 0.6, high: 0.7 });
    const rows = [...(more as typeof REPORT).rows];
    rows[0] = { ...rows[0]!, seeds: [0.5574, 0.5574] as never };
    rows[2] = { ...rows[2]!, seeds: [0.0226, 0.0242] as never };
    expect(reportProblems({ ...REPORT, rows }, { intent: CARD })).toEqual([]); // over the seeds that both have
  });

  it.each<[string, unknown, string]>([
    ['no rows', { ...REPORT, rows: [] }, 'report: rows: '],
    ['a mean that is no number', rowsWith(0, { mean: null }), 'report: rows.0.mean: '],
    ['no seeds', rowsWith(1, { seeds: 0 }), 'report: rows.1.seeds: '],
    [
      'a row twice',
      rowsWith(1, { arm: 'np', mean: 0.56 }),
      'rows: deskdrop / next unseen item / np / mrr stands there',
    ],
    ['a mean outside its interval', rowsWith(0, { low: 0.56 }), 'np / mrr: 0.5574 is not within [0.56, 0.565]'],
    ['an arm that is only in a difference', rowsWith(0, { arm: 'pop' }), 'np+intent - np / mrr: np has no row'],
    ['a difference that is none', rowsWith(1, { mean: 0.582 }), 'is 0.0234, but the arms are 0.582 and 0.5574'],
    ['the same cost twice', { ...REPORT, costs: [...REPORT.costs, ...REPORT.costs] }, 'costs: gru stands there twice'],
    ['a cost below 0', { ...REPORT, costs: [{ ...REPORT.costs[0], mflop: -1 }] }, 'report: costs.0.mflop: '],
  ])('with %s is refused', (_name, report, problem) => {
    expect(reportProblems(report, { intent: CARD }).join('\n')).toContain(problem);
  });

  it.each<[string, object, string]>([
    ['claims more', claiming({ mean: 0.026 }), 'is 0.026 [0.0183, 0.0288], but 0.0234 [0.0183, 0.0288] in the report'],
    ['claims a narrower interval', claiming({ low: 0.02 }), 'is 0.0234 [0.02, 0.0288], but 0.0234'],
    ['claims what was not measured', claiming({ arm: 'hybrid - np' }), 'hybrid - np in mrr is not in the report'],
    ['claims another metric', claiming({ metric: 'ndcg10' }), 'np+intent - np in ndcg10 is not in the report'],
    [
      'claims what another training did not reach',
      claiming({ arm: 'np+gru - np', reportArm: 'np+intent - np', mean: 0.03 }),
      'np+intent - np in mrr is 0.03',
    ],
    ['claims no metric', claiming({ metric: undefined }), 'intent: quality.differences.0.metric: '],
    [
      'names another task',
      { ...CARD, quality: { ...CARD.quality, task: 'first touch' } },
      'np+intent - np in mrr is not in the report',
    ],
    ['has other costs', { ...CARD, megaflopPerAction: 0.1 }, 'megaflopPerAction is 0.1, but 0.0511'],
    ['has other parameters', { ...CARD, parameters: 1 }, 'parameters are 1, but 32000'],
    ['names an arm without costs', { ...CARD, costArm: 'lstm' }, 'the report has no cost of lstm'],
  ])('contradicts a card that %s', (_name, card, problem) => {
    expect(reportProblems(REPORT, { intent: card }).join('\n')).toContain(problem);
  });
});

it('models/report.json agrees with the cards of the committed models', () => {
  const folders = ['intent', 'item-vectors', 'long-term', 'ranker', 'transact'];
  const cards = Object.fromEntries(folders.map((folder) => [folder, readModelJson(folder, 'card.json')]));
  expect(reportProblems(readModelJson('report.json'), cards)).toEqual([]);
});
