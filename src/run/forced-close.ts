/** The end of a worker's tasks, whatever the broker does. */
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError } from '../base/errors.ts';
import type { Deployment } from './deployment.ts';

/** How long the tasks may take to close; then the log is closed under them, which ends every wait for a broker. */
const CLOSE_TIMEOUT_MS = 12_000;
const FORCED_CLOSE_TIMEOUT_MS = 5_000;

/**
 * What a commit under way came to when its broker does not answer is for the next owner of the task to find out.
 *
 * @param closed - the tasks' own closing
 * @param leave - ends the membership: a commit may wait for the group too, on connections of the member's own
 * @throws {FreshetError} LOG_UNAVAILABLE when the tasks are not closed even then
 */
export async function closeWhateverHappens(
  closed: Promise<unknown>,
  { log, logger }: Pick<Deployment, 'log' | 'logger'>,
  leave: AbortController,
): Promise<void> {
  if (await within(CLOSE_TIMEOUT_MS, closed)) return;
  const detail = `tasks were not closed within ${CLOSE_TIMEOUT_MS / 1000} s`;
  logger.warn({ code: 'LOG_UNAVAILABLE', detail }, 'closing the log under them');
  leave.abort();
  await within(FORCED_CLOSE_TIMEOUT_MS, log.close());
  if (await within(FORCED_CLOSE_TIMEOUT_MS, closed)) return;
  closed.catch(() => undefined);
  throw new FreshetError('LOG_UNAVAILABLE', detail);
}

/** Whether the work has ended by then; rejects as it does. */
async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  return Promise.race([work.then(() => true), sleep(ms, false, { ref: false })]);
}
