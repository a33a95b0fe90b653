/**
 * Real Kafka for tests. Files named test/kafka-*.test.ts share one broker and one registry: names of their own keep them
 * apart. A test that stops the broker, or needs topics under their declared names alone, starts its own; the registry
 * can serve it all the same, as every deployment registers the same schemas.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, inject } from 'vitest';
import { LocalKafka, type LocalKafkaOptions } from '../../src/local-kafka/local-kafka.ts';
import { KAFKA_VERSION } from './kafka-version.ts';

export interface KafkaForTests {
  readonly brokers: readonly string[];
  readonly registry: string;
}

const started: LocalKafka[] = [];

afterAll(async () => {
  await Promise.all(started.splice(0).map((kafka) => kafka.stop()));
});

/** The shared broker and registry. */
export const kafkaForTests = (): KafkaForTests => inject('kafka');

/** An app id, and so a consumer group and transactional ids, that no other test has. */
export const uniqueAppId = (name = 'test'): string => `${name}-${randomUUID()}`;

/** A broker for this test file alone, without a registry unless one is asked for; stopped when the file is done. */
export async function startOwnKafka(options: LocalKafkaOptions = {}): Promise<LocalKafka> {
  const kafka = await LocalKafka.start({ quick: true, registry: false, ...KAFKA_VERSION, ...options });
  started.push(kafka);
  return kafka;
}
