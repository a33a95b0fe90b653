/**
 * What the features are worth: the log is replayed once, and at each user's first touch of an item after the cut every
 * arm ranks what could have been shown. Nothing is learned here; the arms were trained before the cut.
 */
import { FreshetError } from '../base/errors.ts';
import type { Recipes } from '../vectors/recipes.ts';
import type { UserActionRecord } from '../../topics/records.ts';
import { clusteredInterval, type Interval } from './bootstrap.ts';
import { LogReplay, type LogReplayOptions, type Trial } from './log-replay.ts';
import { MidnightVectors } from './midnight-vectors.ts';
import { mean, METRICS, rankOf, VALUE, type Metric } from './metrics.ts';
import { ARMS, type Arm, type Rankers } from './rankers.ts';
import { scoreRequests, type RankingModels } from './ranking-request.ts';

export interface EvaluateOptions extends RankingModels, Pick<LogReplayOptions, 'layout'> {
  readonly rankers: Pick<Rankers, 'score' | 'trainedToMs'>;
  /** How item and user vectors are made of the log, a version a midnight. */
  readonly recipes: Recipes;
  /** Every action of the log, rejected ones too, in order of event time; within one moment in any order. */
  readonly actions: Iterable<UserActionRecord> | AsyncIterable<UserActionRecord>;
  /** Requests from this time on are measured, milliseconds since the epoch. Default: where the rankers' training ends. */
  readonly fromMs?: number;
  /** Called once a batch of requests. */
  readonly onProgress?: (progress: { readonly actions: number; readonly requests: number }) => void;
}

export interface ArmQuality extends Readonly<Record<Metric, number>> {
  readonly arm: Arm;
}

/** `arm` - `other` in a metric, with the 95 % interval over users. */
export interface Difference extends Interval {
  readonly arm: Arm;
  readonly other: Arm;
  readonly metric: Metric;
  /** The mean as a share of the other arm's metric. */
  readonly relative: number;
}

export interface Quality {
  readonly fromMs: number;
  /** Requests measured, and the users who made them. */
  readonly requests: number;
  readonly users: number;
  readonly candidatesPerRequest: number;
  /** Share of requests whose target has no vector yet. */
  readonly targetsWithoutVector: number;
  /** Share of first touches that are no request: nobody had acted on the item in the 7 days before. */
  readonly touchesOutsideCandidates: number;
  readonly arms: readonly ArmQuality[];
  readonly differences: readonly Difference[];
}

export interface Evaluation {
  readonly quality: Quality;
  /** The replay at the end of the log, for requests that stand there. */
  readonly end: LogReplay;
}

const COMPARED: readonly (readonly [Arm, Arm])[] = [
  ['np+longterm', 'np'],
  ['np+intent', 'np'],
  ['hybrid', 'np'],
  ['hybrid', 'np+longterm'],
  ['hybrid', 'np+intent'],
];

/** Requests scored together. */
const REQUESTS_MAX = 128;
/** Actions of one event time that are held at once; more point to a time in the wrong unit. */
const TIED_MAX = 100_000;

/** Throws INPUT_MALFORMED (the actions are not in order), MODEL_INVALID, SPACE_MISMATCH. */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { layout, recipes, rankers, onProgress = () => undefined } = options;
  const fromMs = options.fromMs ?? rankers.trainedToMs;
  const end = new LogReplay({ layout, vectors: new MidnightVectors(recipes), fromMs });
  const tally = new Tally();
  let pending: Trial[] = [];
  let actions = 0;
  const flush = async (): Promise<void> => {
    await tally.add(pending, options);
    pending = [];
    onProgress({ actions, requests: tally.requests });
  };
  for await (const tied of moments(options.actions)) {
    actions += tied.length;
    for (const trial of end.take(tied)) {
      if (trial.target === -1) tally.outside += 1;
      else if (pending.push(trial) === REQUESTS_MAX) await flush();
    }
  }
  await flush();
  return { quality: tally.quality(fromMs), end };
}

/** The actions of one event time at once. */
async function* moments(actions: EvaluateOptions['actions']): AsyncGenerator<UserActionRecord[]> {
  let tied: UserActionRecord[] = [];
  for await (const action of actions) {
    const currentMs = tied[0]?.eventTimeMs ?? action.eventTimeMs;
    if (action.eventTimeMs < currentMs) throw malformed('the actions are not in order of event time');
    if (tied.length === TIED_MAX) throw malformed(`more than ${TIED_MAX} actions have one event time`);
    if (action.eventTimeMs > currentMs) {
      yield tied;
      tied = [];
    }
    tied.push(action);
  }
  if (tied.length > 0) yield tied;
}

const malformed = (detail: string): FreshetError => new FreshetError('INPUT_MALFORMED', `quality: ${detail}`);

/** Some numbers a request: what remains of it once it is ranked. */
class Tally {
  /** First touches whose item was not among the candidates. */
  outside = 0;
  readonly #users: string[] = [];
  readonly #ranks = Object.fromEntries(ARMS.map((arm) => [arm, []])) as unknown as Readonly<Record<Arm, number[]>>;
  #candidates = 0;
  #withoutVector = 0;

  get requests(): number {
    return this.#users.length;
  }

  async add(trials: readonly Trial[], models: RankingModels): Promise<void> {
    const scores = await scoreRequests(trials, models, ARMS);
    for (const [index, { userId, candidates, table, target }] of trials.entries()) {
      this.#users.push(userId);
      this.#candidates += candidates.length;
      if (table.vector(candidates[target]!) === undefined) this.#withoutVector += 1;
      for (const arm of ARMS) this.#ranks[arm].push(rankOf(scores[arm][index]!, target));
    }
  }

  quality(fromMs: number): Quality {
    const { requests } = this;
    if (requests === 0) throw malformed(`no request stands after ${new Date(fromMs).toISOString()}`);
    return {
      fromMs,
      requests,
      users: new Set(this.#users).size,
      candidatesPerRequest: this.#candidates / requests,
      targetsWithoutVector: this.#withoutVector / requests,
      touchesOutsideCandidates: this.outside / (requests + this.outside),
      arms: ARMS.map((arm) => ({
        arm,
        mrr: mean(this.#values(arm, 'mrr')),
        recall10: mean(this.#values(arm, 'recall10')),
        ndcg10: mean(this.#values(arm, 'ndcg10')),
      })),
      differences: COMPARED.flatMap(([arm, other]) => METRICS.map((metric) => this.#difference(arm, other, metric))),
    };
  }

  #difference(arm: Arm, other: Arm, metric: Metric): Difference {
    const others = this.#values(other, metric);
    const differences = this.#values(arm, metric).map((value, index) => value - others[index]!);
    const interval = clusteredInterval(differences, this.#users);
    return { arm, other, metric, ...interval, relative: interval.mean / mean(others) };
  }

  #values(arm: Arm, metric: Metric): number[] {
    return this.#ranks[arm].map(VALUE[metric]);
  }
}
