/** A log for the tasks of a partition that asks before it fences: whoever slept past its session finds that it was replaced, and fences nobody. */
import type { Log } from '../log/log.ts';
import { wrapLog } from '../log/wrapped-log.ts';
import type { Membership } from './membership.ts';

export const confirmedLog = (log: Log, membership: Pick<Membership, 'confirm'>, partition: number): Log =>
  wrapLog(log, {
    openWriter: async (taskId) => {
      await membership.confirm(partition);
      return log.openWriter(taskId);
    },
  });
