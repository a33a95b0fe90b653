/**
 * Which partitions a worker serves. On Kafka it is a member of the consumer group of the application: the group knows who
 * is alive, and hands out the partitions. It only says who is to work; that nobody else can is the fencing's doing.
 */

export interface Assignment {
  /** Of the group; a later one replaces an earlier one whole. */
  readonly generation: number;
  /** All partitions that this worker now serves, ascending. */
  readonly partitions: readonly number[];
}

export interface Membership {
  /**
   * Takes part until the signal, and leaves then. `serve` hears of every assignment; between two of them the earlier one
   * stands. Rejects if the worker can be no member, for a person to mend.
   */
  run(serve: (assignment: Assignment) => void, signal: AbortSignal): Promise<void>;
  /**
   * Resolves if the worker serves the partition now, by the word of those who decide; FENCED if it was replaced while it
   * slept. It asks before it fences another: who comes back from the dead must not take what is no longer its own.
   */
  confirm(partition: number): Promise<void>;
}
