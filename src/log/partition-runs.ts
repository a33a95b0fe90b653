/**
 * Records by partition. Those of one stand together for the most part: its name is made where another begins or ends. By
 * index, as there are thousands in a commit and an iterator makes two objects of each.
 */
import { partitionName, type TopicPartition } from './log.ts';

/** The indexes of the records of each partition, in order. */
export function indexesByPartition(records: readonly TopicPartition[]): Iterable<number[]> {
  const byPartition = new Map<string, number[]>();
  let last: TopicPartition | undefined;
  let indexes: number[] = [];
  for (let index = 0; index < records.length; index += 1) {
    const record = records[index]!;
    if (record.topic !== last?.topic || record.partition !== last.partition) {
      const name = partitionName(record);
      indexes = byPartition.get(name) ?? [];
      byPartition.set(name, indexes);
    }
    last = record;
    indexes.push(index);
  }
  return byPartition.values();
}

/** The last record of each run of records of one partition, and its index. */
export function* lastOfRuns(
  records: readonly TopicPartition[],
): Generator<TopicPartition & { readonly index: number }> {
  for (let index = 0; index < records.length; index += 1) {
    const { topic, partition } = records[index]!;
    const next = records[index + 1];
    if (next?.topic !== topic || next.partition !== partition) yield { topic, partition, index };
  }
}
