/** What a consumer group has committed of a partition, with its metadata. */
import type { Broker, ProtocolCall } from './kafka-internals.ts';
import { EncoderClass, createErrorFromCode } from './kafka-internals.ts';
import { send, type KafkaCluster } from './kafka-cluster.ts';
import type { Committed, TopicPartition } from './log.ts';

const OFFSET_FETCH = 9;
/** The first version that can ask for stable offsets, which kafkajs does not know. */
const VERSION = 7;

export interface CommittedQuery {
  readonly groupId: string;
  readonly input: TopicPartition;
  /**
   * Whether an offset in a transaction that is not settled yet is waited for. After fencing it is: the transaction has
   * been decided, while its marker may still be on its way to the group's coordinator.
   */
  readonly isStable: boolean;
}

export async function fetchCommitted(cluster: KafkaCluster, query: CommittedQuery): Promise<Committed | undefined> {
  const { groupId, input } = query;
  return cluster.retrying('the committed offset cannot be read', input, async () => {
    const coordinator = await cluster.coordinator('group', groupId);
    const [committed] = await offsetFetch(coordinator, cluster.topicName(input.topic), query);
    return committed;
  });
}

async function offsetFetch(
  coordinator: Broker,
  topic: string,
  { groupId, input, isStable }: CommittedQuery,
): Promise<Committed[]> {
  // Lengths are varints, raised by one; each structure ends with its tagged fields, of which there are none.
  const request = new EncoderClass()
    .writeUVarInt(0)
    .writeUVarIntString(groupId)
    .writeUVarInt(1 + 1)
    .writeUVarIntString(topic)
    .writeUVarInt(1 + 1)
    .writeInt32(input.partition)
    .writeUVarInt(0)
    .writeInt8(isStable ? 1 : 0)
    .writeUVarInt(0);
  return send(coordinator, {
    request: { apiKey: OFFSET_FETCH, apiVersion: VERSION, apiName: 'OffsetFetch', encode: async () => request },
    response: RESPONSE,
    // Unstable offsets are an answer like another.
    logResponseError: false,
  });
}

/** One at most; kafkajs looks into what is decoded, so it cannot be nothing. */
const RESPONSE: ProtocolCall<Committed[]>['response'] = {
  decode: async (payload) => decodeResponse(payload),
  parse: async (committed) => committed,
};

/**
 * tagged fields · throttle time i32 · one topic: name, one partition: index i32 · offset i64 · leader epoch i32
 * · metadata · error i16 · tagged fields · tagged fields · error i16 · tagged fields
 */
function decodeResponse(payload: Buffer): Committed[] {
  let at = 0;
  const uvarint = (): number => {
    let result = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = payload[at]!;
      at += 1;
      result |= (byte & 0x7f) << shift;
      if (byte < 0x80) return result;
    }
  };
  const text = (): string => {
    const bytes = Math.max(0, uvarint() - 1);
    at += bytes;
    return payload.toString('utf8', at - bytes, at);
  };
  const failOn = (errorCode: number): void => {
    if (errorCode !== 0) throw createErrorFromCode(errorCode);
  };
  at += 1 + 4;
  const topics = uvarint() - 1;
  const committed: Committed[] = [];
  for (let left = topics; left > 0; left -= 1) {
    text();
    for (let partitions = uvarint() - 1; partitions > 0; partitions -= 1) {
      const offset = Number(payload.readBigInt64BE(at + 4));
      at += 4 + 8 + 4;
      const metadata = text();
      failOn(payload.readInt16BE(at));
      at += 2 + 1;
      if (offset >= 0) committed.push({ offset, metadata });
    }
    at += 1;
  }
  failOn(payload.readInt16BE(at));
  return committed;
}
