/** One fetch of committed records: the request, and what of its answer is read here. The batches stay bytes. */
import { createErrorFromCode, fetchRequestV11 } from './kafka-internals.ts';
import type { Broker, ProtocolCall } from './kafka-internals.ts';
import { send } from './kafka-cluster.ts';

const READ_COMMITTED = 1;
/** A consumer's replica id. */
const NO_REPLICA = -1;
/** A broker may take this much longer than it was asked to wait. */
const GRACE_MS = 5_000;

export interface FetchPosition {
  /** The broker's name. */
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly maxBytes: number;
}

export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: number;
}

export interface FetchedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  /** Committed and aborted records end here; what stands behind is undecided. */
  readonly lastStableOffset: number;
  /** Those whose records are among the batches. */
  readonly aborted: readonly AbortedTransaction[];
  readonly batches: Buffer;
}

export interface FetchWait {
  /** How long the broker may wait until there is something. */
  readonly waitMs: number;
  readonly maxBytes: number;
  readonly connection: 0 | 1;
}

export async function fetchPartitions(
  broker: Broker,
  positions: readonly FetchPosition[],
  { waitMs, maxBytes, connection }: FetchWait,
): Promise<FetchedPartition[]> {
  const topics = Map.groupBy(positions, ({ topic }) => topic);
  const request = fetchRequestV11({
    replicaId: NO_REPLICA,
    isolationLevel: READ_COMMITTED,
    maxWaitTime: waitMs,
    minBytes: 1,
    maxBytes,
    topics: Array.from(topics, ([topic, of]) => ({
      topic,
      partitions: of.map((each) => ({
        partition: each.partition,
        fetchOffset: each.offset,
        maxBytes: each.maxBytes,
      })),
    })),
  });
  return send(broker, { request, response: RESPONSE, requestTimeout: waitMs + GRACE_MS }, connection);
}

const RESPONSE: ProtocolCall<FetchedPartition[]>['response'] = {
  decode: async (payload) => decodeResponse(payload),
  parse: async (partitions) => partitions,
};

/** throttle time i32 · error i16 · session i32 · topics */
function decodeResponse(payload: Buffer): FetchedPartition[] {
  const errorCode = payload.readInt16BE(4);
  if (errorCode !== 0) throw createErrorFromCode(errorCode);
  const partitions: FetchedPartition[] = [];
  let at = 10;
  const int32 = (): number => {
    at += 4;
    return payload.readInt32BE(at - 4);
  };
  const offset = (): number => {
    at += 8;
    return Number(payload.readBigInt64BE(at - 8));
  };
  for (let topics = int32(); topics > 0; topics -= 1) {
    const nameBytes = payload.readInt16BE(at);
    const topic = payload.toString('utf8', at + 2, at + 2 + nameBytes);
    at += 2 + nameBytes;
    for (let left = int32(); left > 0; left -= 1) {
      const partition = int32();
      const error = payload.readInt16BE(at);
      at += 2 + 8; // and the high watermark
      const lastStableOffset = offset();
      at += 8; // the log's start
      const aborted: AbortedTransaction[] = [];
      for (let transactions = int32(); transactions > 0; transactions -= 1) {
        const producerId = payload.readBigInt64BE(at);
        at += 8;
        aborted.push({ producerId, firstOffset: offset() });
      }
      at += 4; // the preferred replica
      const bytes = Math.max(0, int32());
      const batches = payload.subarray(at, at + bytes);
      at += bytes;
      partitions.push({ topic, partition, errorCode: error, lastStableOffset, aborted, batches });
    }
  }
  return partitions;
}
