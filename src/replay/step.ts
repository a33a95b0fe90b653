/** A step of a replay: some records of the input taken, and what came of them. */
import type { NewRecord } from '../log/log.ts';
import type { UserState } from '../../state/user-state.ts';
import type { EmitRule } from '../task/batch.ts';
import type { Featured } from '../task/features.ts';
import type { Gap } from './passage.ts';

export interface StepOptions {
  /** The step ends before this input offset at the latest. */
  readonly to: number;
  readonly maxRecords?: number;
  readonly emit: EmitRule;
}

/** What one step has taken, and what was asked to be emitted of it. */
export interface ReplayStep {
  /** Input offsets: from `from` up to `next`, exclusive. */
  readonly from: number;
  readonly next: number;
  readonly records: number;
  readonly counts: ReadonlyMap<string, number>;
  /** In no order; a user may come more than once, with other versions. */
  readonly featured: readonly Featured[];
  /** Users as they are after the step: those that it changed. Null: gone. */
  readonly changed: ReadonlyMap<string, UserState | null>;
  /** History chunks, their tombstones and rejections. */
  readonly outputs: readonly NewRecord[];
  /** Input that could not be read and was passed over. */
  readonly gaps: readonly Gap[];
}

/** Records of a step: what a store commit and the features in memory are bounded by. */
export const STEP_RECORDS = 10_000;
