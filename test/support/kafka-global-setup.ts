/** One broker and one registry for all Kafka test files of a run; Vitest calls this only if there is such a file in it. */
import type { TestProject } from 'vitest/node';
import { LocalKafka } from '../../src/local-kafka/local-kafka.ts';
import { KAFKA_VERSION } from './kafka-version.ts';

declare module 'vitest' {
  interface ProvidedContext {
    kafka: { readonly brokers: readonly string[]; readonly registry: string };
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const kafka = await LocalKafka.start({ quick: true, ...KAFKA_VERSION });
  project.provide('kafka', { brokers: [...kafka.brokers], registry: kafka.registry! });
  return () => kafka.stop();
}
