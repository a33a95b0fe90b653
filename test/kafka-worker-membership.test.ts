/** Members of a real consumer group: who serves what when members come, leave, fall silent, and when the broker goes away. */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { GroupMember } from '../src/run/group-member.ts';
import type { Assignment } from '../src/run/membership.ts';
import { kafkaForTests, startOwnKafka, uniqueAppId } from './support/kafka.ts';

const PARTITIONS = 8;
const TOPICS = ['user-actions', 'sequence-features', 'user-embeddings'];
const ALL = [...Array(PARTITIONS).keys()];
/** The shortest that brokers allow by default. */
const SESSION_TIMEOUT_MS = 6_000;

interface Joined {
  readonly member: GroupMember;
  readonly assignments: Assignment[];
  readonly ended: Promise<void>;
  leave(): Promise<void>;
}

const joined: Joined[] = [];

afterEach(async () => {
  await Promise.allSettled(joined.splice(0).map((each) => each.leave()));
});

function join(groupId: string, brokers: readonly string[], heartbeatIntervalMs = 200): Joined {
  const assignments: Assignment[] = [];
  const member = new GroupMember({
    cluster: {
      kafka: { brokers: [...brokers], clientId: 'test' },
      logger: pino({ level: 'silent' }),
      topicPrefix: '',
      patienceMs: 1_000,
    },
    groupId,
    topics: TOPICS,
    partitions: PARTITIONS,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
    heartbeatIntervalMs,
    logger: pino({ level: 'silent' }),
  });
  const leaving = new AbortController();
  const ended = member.run((assignment) => assignments.push(assignment), leaving.signal);
  ended.catch(() => undefined);
  const each = {
    member,
    assignments,
    ended,
    leave: () => {
      leaving.abort();
      return ended;
    },
  };
  joined.push(each);
  return each;
}

const partitionsOf = (each: Joined): readonly number[] => each.assignments.at(-1)?.partitions ?? [];
const generationOf = (each: Joined): number => each.assignments.at(-1)?.generation ?? 0;

/** Resolves when these members are of one generation and have all partitions, evenly. */
async function settled(...members: Joined[]): Promise<void> {
  const sizes = (): number[] => members.map((each) => partitionsOf(each).length);
  const endMs = performance.now() + 40_000;
  for (;;) {
    const all = members.flatMap(partitionsOf).sort((a, b) => a - b);
    const one = new Set(members.map(generationOf)).size === 1;
    if (one && all.join() === ALL.join() && Math.max(...sizes()) - Math.min(...sizes()) <= 1) return;
    if (performance.now() > endMs) throw new Error(`not settled: ${JSON.stringify(members.map(partitionsOf))}`);
    await sleep(20);
  }
}

const kept = (before: readonly number[], after: readonly number[]): number =>
  before.filter((partition) => after.includes(partition)).length;

describe('a group', () => {
  it('moves as few partitions as it can when members come and leave, and shows itself to tools', async () => {
    const { brokers } = kafkaForTests();
    const groupId = uniqueAppId();
    const a = join(groupId, brokers);
    await settled(a);
    const b = join(groupId, brokers);
    await settled(a, b);
    expect(kept(ALL, partitionsOf(a))).toBe(4);
    const [beforeA, beforeB] = [partitionsOf(a), partitionsOf(b)];
    const c = join(groupId, brokers);
    await settled(a, b, c);
    expect(kept(beforeA, partitionsOf(a)) + kept(beforeB, partitionsOf(b))).toBe(6);

    const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    const { groups } = await admin.describeGroups([groupId]);
    await admin.disconnect();
    expect(groups[0]).toMatchObject({ state: 'Stable', protocolType: 'consumer', protocol: 'freshet-sticky' });
    const shown = groups[0]!.members.map(
      ({ memberAssignment }) => kafkajs.AssignerProtocol.MemberAssignment.decode(memberAssignment)!.assignment,
    );
    for (const assignment of shown) {
      expect(Object.keys(assignment)).toEqual(TOPICS);
      expect(new Set(Object.values(assignment).map((each) => each.join())).size).toBe(1);
    }

    const [a3, c3, startedMs] = [partitionsOf(a), partitionsOf(c), performance.now()];
    await b.leave();
    await settled(a, c);
    // Nobody waited for the session of the one that left.
    expect(performance.now() - startedMs).toBeLessThan(SESSION_TIMEOUT_MS);
    expect(kept(a3, partitionsOf(a))).toBe(a3.length);
    expect(kept(c3, partitionsOf(c))).toBe(c3.length);
  });

  it('gives the partitions of a silent member to others, which then confirms nothing and comes back', async () => {
    const { brokers } = kafkaForTests();
    const groupId = uniqueAppId();
    // As a process that is stopped for ten seconds: it beats too late.
    const silent = join(groupId, brokers, 10_000);
    await settled(silent);
    await silent.member.confirm(0);
    const live = join(groupId, brokers);
    const held = [...partitionsOf(silent)];
    await settled(live);
    await expect(silent.member.confirm(0)).rejects.toMatchObject({ code: 'FENCED' });
    expect(partitionsOf(silent)).toEqual(held);
    await settled(silent, live);
    const [own, others] = [partitionsOf(silent), partitionsOf(live)];
    await silent.member.confirm(own[0]!);
    await expect(silent.member.confirm(others[0]!)).rejects.toMatchObject({ code: 'FENCED' });
  });

  it('of another kind under the same name is refused, with a remedy', async () => {
    const { brokers } = kafkaForTests();
    const groupId = uniqueAppId();
    const consumer = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).consumer({
      groupId,
    });
    await consumer.connect();
    await consumer.subscribe({ topics: [await someTopic(brokers)] });
    const there = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
    await consumer.run({ eachMessage: async () => undefined });
    await there;
    const member = join(groupId, brokers);
    await expect(member.ended).rejects.toMatchObject({
      code: 'KAFKA_REFUSED',
      message: expect.stringContaining(groupId) as string,
    });
    await consumer.disconnect();
  });
});

describe('a broker', () => {
  it('that goes away and comes back finds its members as they were', async () => {
    const kafka = await startOwnKafka();
    const groupId = uniqueAppId();
    const [a, b] = [join(groupId, kafka.brokers), join(groupId, kafka.brokers)];
    await settled(a, b);
    const before = [partitionsOf(a), partitionsOf(b)];
    await kafka.kill9();
    await sleep(1_000);
    await expect(a.member.confirm(before[0]![0]!)).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
    await kafka.startBroker();
    await confirmed(a);
    await confirmed(b);
    await settled(a, b);
    expect([partitionsOf(a), partitionsOf(b)]).toEqual(before);
  }, 120_000);

  it('that answers nothing does not keep a member from leaving', async () => {
    const kafka = await startOwnKafka();
    const a = join(uniqueAppId(), kafka.brokers);
    await settled(a);
    kafka.pauseBroker();
    const startedMs = performance.now();
    await a.leave();
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    kafka.resumeBroker();
  });
});

async function confirmed(each: Joined): Promise<void> {
  const endMs = performance.now() + 30_000;
  for (;;) {
    try {
      await each.member.confirm(partitionsOf(each)[0]!);
      return;
    } catch (error) {
      if (performance.now() > endMs) throw error;
      await sleep(100);
    }
  }
}

async function someTopic(brokers: readonly string[]): Promise<string> {
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  const topic = uniqueAppId('topic');
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  return topic;
}
