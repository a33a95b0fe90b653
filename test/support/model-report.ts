/** Whether models/report.json is sound in itself, and says of the committed models what their cards say. */
import { z } from 'zod';

const text = z.string().min(1);
const row = z.looseObject({
  dataset: text,
  task: text,
  /** An arm, or a difference: `A - B`. */
  arm: text,
  metric: text,
  mean: z.number(),
  low: z.number(),
  high: z.number(),
  /** How many, or each one's value. */
  seeds: z.union([z.int().min(1), z.array(z.number()).min(1)]),
});
const cost = z.looseObject({
  arm: text,
  parameters: z.int().min(0),
  /** Per action; of a ranker per candidate. */
  mflop: z.number().min(0),
  actionsPerSecond: z.number().positive().nullable(),
});
const reportSchema = z.looseObject({ rows: z.array(row).min(1), costs: z.array(cost).min(1) });

/** The part of a card that a report can contradict. */
const cardSchema = z.looseObject({
  name: text,
  quality: z.looseObject({
    /** Where the report has the differences; absent: in any of its tables. */
    dataset: text.optional(),
    task: text.optional(),
    differences: z
      .array(
        z.looseObject({
          ...{ arm: text, metric: text, mean: z.number(), low: z.number(), high: z.number() },
          /** What the report calls it, where it measured another training of the same: then its interval must hold the mean. */
          reportArm: text.optional(),
        }),
      )
      .min(1),
  }),
  parameters: z.int().optional(),
  megaflopPerAction: z.number().optional(),
  /** The model's arm among the costs; absent: none is compared. */
  costArm: text.optional(),
});

type Row = z.infer<typeof row>;
type Card = z.infer<typeof cardSchema>;

/** Cards and tables round to four decimals. */
const ROUNDING = 1.01e-4;
const MFLOP_SHARE = 0.01;

/** One line a problem; none where all agrees. `cards` are the parsed card.json files by folder. */
export function reportProblems(report: unknown, cards: Readonly<Record<string, unknown>>): string[] {
  const parsed = reportSchema.safeParse(report);
  if (!parsed.success) return issues('report', parsed.error);
  const { rows, costs } = parsed.data;
  const problems = [
    ...rowProblems(rows),
    ...repeated(
      'costs',
      costs.map(({ arm }) => arm),
    ),
  ];
  for (const [folder, content] of Object.entries(cards)) {
    const card = cardSchema.safeParse(content);
    if (!card.success) problems.push(...issues(folder, card.error));
    else problems.push(...qualityProblems(folder, card.data, rows), ...costProblems(folder, card.data, costs));
  }
  return problems;
}

const issues = (what: string, error: z.ZodError): string[] =>
  error.issues.map(({ path, message }) => `${what}: ${path.join('.')}: ${message}`);

const nameOf = ({ dataset, task, arm, metric }: Pick<Row, 'dataset' | 'task' | 'arm' | 'metric'>): string =>
  [dataset, task, arm, metric].join(' / ');

function rowProblems(rows: readonly Row[]): string[] {
  const problems = repeated('rows', rows.map(nameOf));
  const byName = new Map(rows.map((each) => [nameOf(each), each]));
  for (const each of rows) {
    const { arm, mean, low, high } = each;
    if (low > mean || mean > high) problems.push(`${nameOf(each)}: ${mean} is not within [${low}, ${high}]`);
    const parts = arm.split(' - ');
    if (parts.length !== 2) continue;
    const [a, b] = parts.map((part) => byName.get(nameOf({ ...each, arm: part })));
    if (a === undefined || b === undefined)
      problems.push(`${nameOf(each)}: ${a === undefined ? parts[0] : parts[1]} has no row`);
    else {
      const [meanA, meanB] = [a, b].map((of) => meanOver(of, each)) as [number, number];
      if (Math.abs(meanA - meanB - mean) <= 2 * ROUNDING) continue;
      problems.push(`${nameOf(each)}: is ${mean}, but the arms are ${meanA} and ${meanB}`);
    }
  }
  return problems;
}

/** An arm's mean over the seeds of a difference: arms may have more of them. */
function meanOver({ mean, seeds }: Row, difference: Row): number {
  if (!Array.isArray(seeds) || !Array.isArray(difference.seeds)) return mean;
  const common = seeds.slice(0, difference.seeds.length);
  return common.reduce((sum, each) => sum + each, 0) / common.length;
}

function repeated(what: string, names: readonly string[]): string[] {
  return [...new Set(names.filter((name, index) => names.indexOf(name) !== index))].map(
    (name) => `${what}: ${name} stands there twice`,
  );
}

function qualityProblems(folder: string, { quality }: Card, rows: readonly Row[]): string[] {
  const { dataset, task, differences } = quality;
  return differences.flatMap((claimed) => {
    const { arm, metric, reportArm } = claimed;
    const what = `${folder}: quality: ${reportArm ?? arm} in ${metric}`;
    const found = rows.filter(
      (each) =>
        each.arm === (reportArm ?? arm) &&
        each.metric === metric &&
        (dataset ?? each.dataset) === each.dataset &&
        (task ?? each.task) === each.task,
    );
    if (found.length === 0) return [`${what} is not in the report`];
    const agrees = (each: Row): boolean =>
      (reportArm !== undefined && each.low <= claimed.mean && claimed.mean <= each.high) ||
      (['mean', 'low', 'high'] as const).every((field) => Math.abs(each[field] - claimed[field]) <= ROUNDING);
    if (found.some(agrees)) return [];
    const [{ mean, low, high }] = found as [Row];
    const told = `${claimed.mean} [${claimed.low}, ${claimed.high}]`;
    return [`${what} is ${told}, but ${mean} [${low}, ${high}] in the report`];
  });
}

function costProblems(folder: string, card: Card, costs: readonly z.infer<typeof cost>[]): string[] {
  const { costArm, parameters, megaflopPerAction } = card;
  if (costArm === undefined) return [];
  const found = costs.find(({ arm }) => arm === costArm);
  if (found === undefined) return [`${folder}: the report has no cost of ${costArm}`];
  const problems: string[] = [];
  if (parameters !== undefined && parameters !== found.parameters) {
    problems.push(`${folder}: parameters are ${parameters}, but ${found.parameters} in the report`);
  }
  if (megaflopPerAction !== undefined && Math.abs(found.mflop / megaflopPerAction - 1) > MFLOP_SHARE) {
    problems.push(`${folder}: megaflopPerAction is ${megaflopPerAction}, but ${found.mflop} in the report`);
  }
  return problems;
}
