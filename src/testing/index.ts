/** `freshet/testing`: what tests of code that builds on Freshet need. No network, and no files but Freshet's own schemas. */
import { packagePath } from '../base/package-root.ts';
import type { Scorer } from '../intent/scorer.ts';

export { action, itemVectors, userLog } from './builders.ts';
export type { ActionDetails, TestAction, UserLog } from './builders.ts';
export { FakeClock } from './clock.ts';
export type { Age, Time } from './clock.ts';
export { MemoryLog, MemoryStorage } from './memory-log.ts';
export { featuresOf, TestStream } from './test-stream.ts';
export type { TestConfig, TestOutcome, TestStreamOptions } from './test-stream.ts';
export type { UserFeatures } from './user-features.ts';
export { zeroScorer } from './zero-scorer.ts';
export { declareTopics } from '../../topics/index.ts';
export type { Action } from '../../state/action.ts';
export type { ItemTable } from '../intent/item-table.ts';
export type { FoldRow, Score, Scorer } from '../intent/scorer.ts';
export type { Log, LogRecord, NewRecord } from '../log/log.ts';
export type { SequenceFeaturesRecord } from '../../topics/records.ts';

/** The intent model that Freshet ships; loading it takes about a second. */
export async function shippedScorer(): Promise<Scorer> {
  const { OnnxScorer } = await import('../intent/onnx-scorer.ts');
  return OnnxScorer.load(packagePath('models', 'intent'));
}
