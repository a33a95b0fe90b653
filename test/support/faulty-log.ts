/** A log whose calls fail as a Kafka cluster's do, in an order that a test gives; otherwise the log behind it. */
import { FreshetError } from '../../src/base/errors.ts';
import type { Log, TaskWriter } from '../../src/log/log.ts';
import { wrapLog } from '../../src/log/wrapped-log.ts';

export const FAULTS = [
  'commit fails, nothing written',
  'commit is unknown, nothing written',
  'commit is unknown, all written',
  'commit finds another owner',
  'commit finds another owner that goes on',
  'read fails',
  'end fails',
  'opening a writer fails',
  'committed offset fails',
  'closing a writer fails',
] as const;
export type Fault = (typeof FAULTS)[number];

type Call = 'commit' | 'read' | 'end' | 'opening' | 'committed' | 'closing';

export class FaultyLog {
  readonly log: Log;
  /** What is still to happen, the next first. Each fault waits for a call that it fits. */
  readonly left: Fault[];
  private readonly behind: Log;
  private readonly onOther: () => Promise<void>;

  /** @param onOther - an owner elsewhere takes the partition over and commits. */
  constructor(behind: Log, faults: readonly Fault[], onOther: () => Promise<void>) {
    this.behind = behind;
    this.left = [...faults];
    this.onOther = onOther;
    this.log = wrapLog(behind, {
      read: async (at, offset, limits) => {
        this.failFor('read');
        return behind.read(at, offset, limits);
      },
      endOffset: async (at) => {
        this.failFor('end');
        return behind.endOffset(at);
      },
      openWriter: async (taskId) => {
        this.failFor('opening');
        return this.writer(taskId, await behind.openWriter(taskId));
      },
    });
  }

  private writer(taskId: string, writer: TaskWriter): TaskWriter {
    return {
      committed: async (input) => {
        this.failFor('committed');
        return writer.committed(input);
      },
      commit: async (request) => {
        const fault = this.take('commit');
        if (fault === 'commit finds another owner') await (await this.behind.openWriter(taskId)).close();
        if (fault === 'commit finds another owner that goes on') await this.onOther();
        if (fault === 'commit fails, nothing written') throw unavailable(fault);
        if (fault !== 'commit is unknown, nothing written') await writer.commit(request);
        if (fault?.startsWith('commit is unknown') === true) throw new FreshetError('COMMIT_UNKNOWN', fault);
      },
      close: async () => {
        await writer.close();
        this.failFor('closing');
      },
    };
  }

  private failFor(call: Call): void {
    const fault = this.take(call);
    if (fault !== undefined) throw unavailable(fault);
  }

  private take(call: Call): Fault | undefined {
    return this.left[0]?.startsWith(call) === true ? this.left.shift() : undefined;
  }
}

const unavailable = (fault: Fault): FreshetError => new FreshetError('LOG_UNAVAILABLE', fault);
