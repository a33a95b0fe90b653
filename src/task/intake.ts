/**
 * Takes input records into a batch, piece by piece, until a commit is to close: at its limits, at the end of the input,
 * or before an activation whose item vectors are not complete.
 */
import { FreshetError } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { Log, LogRecord, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { UserState } from '../../state/user-state.ts';
import type { Batch } from './batch.ts';
import { judge, type Activation, type JudgeOptions, type Judgement } from './judge.ts';
import { readOn } from './read-on.ts';
import type { CachedUser } from './score-cache.ts';
import type { StepLimits } from './step.ts';

/** Where in its input a task stands. */
export interface Standing {
  /** Of the next record. */
  readonly offset: number;
  readonly activation: Activation | null;
  /** The item vectors of the activation; undefined until they are first needed. */
  readonly table: ItemTable | undefined;
}

export interface Taken {
  readonly standing: Standing;
  readonly records: number;
  /** The item-vector version whose table is not complete yet: the task waits before its activation. */
  readonly waitingFor: string | null;
}

export interface IntakeOptions {
  readonly log: Log;
  readonly codec: Pick<Codec, 'learn'>;
  readonly scorer: Pick<Scorer, 'space'>;
  readonly itemVersions: ItemVersions;
  readonly input: TopicPartition;
  readonly judging: JudgeOptions;
  readonly load: (userIds: Iterable<string>) => Promise<Map<string, CachedUser<UserState>>>;
  readonly reached: (point: 'read' | 'reduced') => void | Promise<void>;
}

/** One read of the log: of thousands of records only what they changed is held until the commit. */
const READ_RECORDS = 2_000;
const READ_BYTES = 1024 * 1024;

const REDUCER_CAUSES = {
  late: 'the action is at or below the left edge of the window: what is there was sealed',
  future: 'the event time is too far ahead of the arrival',
} as const;

export class Intake {
  private readonly options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.options = options;
  }

  /** @param onPiece - called with the batch as it is after each read's records. */
  async take(from: Standing, batch: Batch, limits: StepLimits, onPiece: () => Promise<void>): Promise<Taken> {
    const { log, codec, input, reached } = this.options;
    const { maxRecords, maxOutputBytes, maxMs } = limits;
    const closesAtMs = performance.now() + maxMs;
    const { activation } = from;
    const table = from.table ?? (activation === null ? EMPTY_TABLE : await this.tableOf(activation, from.offset));
    if (table === undefined) return { standing: from, records: 0, waitingFor: activation?.version ?? null };

    let taken: Taken = { standing: { ...from, table }, records: 0, waitingFor: null };
    do {
      const maxRead = Math.min(READ_RECORDS, maxRecords - taken.records);
      const { offset } = taken.standing;
      const { records, next } = await readOn(log, input, offset, {
        ...{ maxRecords: maxRead, maxBytes: READ_BYTES, views: true },
      });
      if (records.length === 0) return { ...taken, standing: { ...taken.standing, offset: next } };
      await codec.learn(records);
      await reached('read');
      taken = await this.reduce(records, taken, batch, maxOutputBytes);
      await reached('reduced');
      await onPiece();
    } while (
      taken.records < maxRecords &&
      taken.waitingFor === null &&
      batch.outputBytes < maxOutputBytes &&
      performance.now() < closesAtMs
    );
    return taken;
  }

  /** Reduces records until the batch is full, or until an activation whose table is not complete. */
  private async reduce(read: readonly LogRecord[], before: Taken, batch: Batch, maxBytes: number): Promise<Taken> {
    const judgements = read.map((record) => judge(record, this.options.judging));
    const loaded = await this.options.load(usersOf(judgements, batch));
    let { records, standing } = before;
    for (let index = 0; index < judgements.length; index += 1) {
      const judged = judgements[index]!;
      const record = read[index]!;
      let { table, activation } = standing;
      if (judged.kind === 'activation') {
        table = await this.tableOf(judged.activation, record.offset);
        if (table === undefined) return { records, standing, waitingFor: judged.activation.version };
        ({ activation } = judged);
        batch.count('activation');
      } else if (judged.kind === 'nobody') {
        batch.reject(record, judged.rejection);
      } else {
        const cause = batch.apply(judged.userId, judged.record, loaded.get(judged.userId), table!);
        if (judged.rejection !== null) batch.reject(record, judged.rejection);
        else if (cause !== null) batch.reject(record, { cause, detail: REDUCER_CAUSES[cause] });
      }
      standing = { offset: record.offset + 1, activation, table };
      records += 1;
      if (batch.outputBytes >= maxBytes) break;
    }
    return { records, standing, waitingFor: null };
  }

  /** The complete table of a version activated at or before `offset`; undefined while it is not complete. */
  private async tableOf(activation: Activation, offset: number): Promise<ItemTable | undefined> {
    const { scorer, itemVersions, input } = this.options;
    if (activation.space !== scorer.space) {
      const detail = `version ${activation.version} lives in ${activation.space}, the model needs ${scorer.space}`;
      throw new FreshetError('SPACE_MISMATCH', detail, { position: { ...input, offset } });
    }
    return itemVersions.table(activation);
  }
}

function* usersOf(judgements: readonly Judgement[], batch: Batch): Generator<string> {
  for (const judged of judgements) if (judged.kind === 'user' && !batch.has(judged.userId)) yield judged.userId;
}
