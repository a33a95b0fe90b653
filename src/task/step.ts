/** One step of a feature task: where it stands, when it ends, what it did. */

/** Where a step stands; tests stop processes there. `sent` is told by logs that send outputs before they commit them. */
export type StepPoint = 'read' | 'reduced' | 'folded' | 'sent' | 'log-committed' | 'store-committed';

/** When the commit of a step closes, whichever comes first. What is left then waits in the log. */
export interface StepLimits {
  /** Input records. */
  readonly maxRecords: number;
  /** Of output, about. */
  readonly maxOutputBytes: number;
  /** Since the step began: input that trickles in without a pause keeps no commit open longer. */
  readonly maxMs: number;
}

export interface StepResult {
  /** Input records consumed. */
  readonly records: number;
  /** Features records written. */
  readonly features: number;
  /** The item-vector version whose table is not complete yet: the task waits before its activation. */
  readonly waitingFor: string | null;
}
