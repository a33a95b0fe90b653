/** The history of a partition's users, on disk: what each has sealed, as long as the ring of chunks holds it. */
import type { Logger } from 'pino';
import type { Log, TopicPartition } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import type { HistoryChunkRecord } from '../../topics/records.ts';
import type { Action } from '../../state/action.ts';
import { fromColumns } from '../../state/columns.ts';
import { HISTORY_RING, historyKey } from '../../state/history.ts';
import { ProgressStore, type Change } from '../../state/progress-store.ts';
import type { SequenceState } from '../../state/user-state.ts';
import type { SealedActions } from './convert-state.ts';

export interface HistoryOptions {
  readonly log: Log;
  readonly codec: Codec;
  readonly at: TopicPartition;
  /** Exclusive: what was committed with the states. */
  readonly end: number;
  /** For the table, which is made anew. */
  readonly folder: string;
  readonly logger: Logger;
}

const READ_LIMITS = { maxRecords: 2_000, maxBytes: 8 * 1024 * 1024 };
/** Chunks looked up at once. */
const LOOKUP = 64;

export class HistoryTable {
  private readonly options: HistoryOptions;
  private table: ProgressStore<number> | undefined;

  /** Reads nothing before somebody asks. */
  constructor(options: HistoryOptions) {
    this.options = options;
  }

  /** What the user has sealed in the sequence of this name, oldest first; null: some of it is not there. */
  async sealed(userId: string, sequence: string, { base }: SequenceState): Promise<SealedActions> {
    if (base.chunks > HISTORY_RING) return null;
    const table = (this.table ??= await this.read());
    const actions: Action[] = [];
    for (let first = 0; first < base.chunks; first += LOOKUP) {
      const count = Math.min(LOOKUP, base.chunks - first);
      const values = await table.getMany(
        Array.from({ length: count }, (_, index) => historyKey(userId, sequence, first + index)),
      );
      for (const [index, value] of values.entries()) {
        if (value === undefined) return null;
        const record = this.options.codec.decode<HistoryChunkRecord>('action-history-value', value);
        if (record.chunk !== first + index) return null;
        for (const action of fromColumns(record)) actions.push(action);
      }
    }
    return actions;
  }

  async close(): Promise<void> {
    await this.table?.close();
  }

  private async read(): Promise<ProgressStore<number>> {
    const { log, codec, at, end, folder, logger } = this.options;
    const table = await ProgressStore.open<number>(folder, { layoutHash: 'history', logger });
    if (!table.isEmpty()) await table.wipe();
    for (let offset = await log.startOffset(at); offset < end;) {
      const read = (await log.read(at, offset, READ_LIMITS)).filter((record) => record.offset < end);
      if (read.length === 0) break;
      await codec.learn(read);
      // Of several records of a key the last one counts.
      const changes = new Map<string, Change>();
      for (const { key, value } of read) changes.set(key!.toString('latin1'), [key!, value]);
      await table.add(changes.values());
      offset = read.at(-1)!.offset + 1;
    }
    return table;
  }
}
