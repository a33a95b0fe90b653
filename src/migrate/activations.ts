/** Which item vectors were in force at each offset of a partition of the input. */
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { EMPTY_TABLE, type ItemTable } from '../intent/item-table.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Log } from '../log/log.ts';
import { records } from '../log/newest.ts';
import type { Codec } from '../serde/codec.ts';
import type { CommitMetadata } from '../task/commit-metadata.ts';
import { judge, type Activation } from '../task/judge.ts';
import { CONTROL_HEADER } from '../../topics/index.ts';

export interface InputReader {
  readonly log: Log;
  readonly codec: Codec;
  readonly config: Config;
  readonly itemVersions: ItemVersions;
}

export class Activations {
  private readonly reader: InputReader;
  private readonly partition: number;
  private readonly start: number;
  /** Oldest first. */
  private readonly found: readonly { readonly offset: number; readonly activation: Activation }[];

  private constructor(reader: InputReader, partition: number, start: number, found: Activations['found']) {
    this.reader = reader;
    this.partition = partition;
    this.start = start;
    this.found = found;
  }

  /** Reads the partition up to `end`; of an application that began with another's state, `metadata` tells that. */
  static async read(
    reader: InputReader,
    partition: number,
    end: number,
    { seededFrom }: Pick<CommitMetadata, 'seededFrom'>,
  ): Promise<Activations> {
    const { log, codec, config } = reader;
    const at = { topic: 'user-actions', partition };
    const judging = { ...config, codec, partition, actionTypes: new Set(config.actionTypes) };
    const start = await log.startOffset(at);
    const found: { offset: number; activation: Activation }[] = [];
    // Older ones than the last before it stood in the other's input: it stands for them.
    const before = seededFrom?.activation ?? null;
    if (before !== null) found.push({ offset: -Infinity, activation: before });
    for await (const record of records(log, at, start, end)) {
      if (record.headers[CONTROL_HEADER] === undefined) continue;
      await codec.learn([record]);
      const judged = judge(record, judging);
      if (judged.kind === 'activation') found.push({ offset: record.offset, activation: judged.activation });
    }
    return new Activations(reader, partition, start, found);
  }

  /**
   * The table under which a user is folded whose last record is at `version`. Throws ITEM_VERSION_INCOMPLETE, and
   * OFFSET_OUT_OF_RANGE where the input no longer tells.
   */
  async tableAt(version: number): Promise<ItemTable> {
    const position = { topic: 'user-actions', partition: this.partition, offset: version };
    const inForce = this.found.findLast(({ offset }) => offset < version);
    if (inForce === undefined) {
      if (this.start === 0) return EMPTY_TABLE;
      const detail = `which item vectors were in force cannot be told: the input begins at ${this.start}`;
      throw new FreshetError('OFFSET_OUT_OF_RANGE', detail, { position });
    }
    const table = await this.reader.itemVersions.table(inForce.activation);
    if (table !== undefined) return table;
    const reason = this.reader.itemVersions.reason(inForce.activation.version) ?? 'not in the log';
    throw new FreshetError('ITEM_VERSION_INCOMPLETE', reason, { position });
  }
}
