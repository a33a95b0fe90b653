/** The status that `freshet run` answers with over HTTP. */
import { FreshetError } from '../base/errors.ts';
import type { Log } from '../log/log.ts';
import { readStatus, type Status } from '../observe/status.ts';
import type { Deployment } from '../run/deployment.ts';
import type { Context } from './command.ts';

export class StatusSource {
  private readonly context: Context;
  private log: Log | undefined;
  private ownLog: Log | undefined;

  constructor(context: Context) {
    this.context = context;
  }

  /** The embedded log can be open once only: it is that of the worker. */
  opened({ log }: Deployment): void {
    this.log = log;
  }

  async read(): Promise<Status> {
    const { config, logger } = this.context;
    if (config.brokers.length === 0) {
      if (this.log === undefined) throw new FreshetError('LOG_UNAVAILABLE', 'the log is not open yet');
      return readStatus(this.log, config, null);
    }
    const [{ openKafkaLog }, { ownersOf }] = await Promise.all([import('../log/kafka.ts'), import('./status.ts')]);
    this.ownLog ??= openKafkaLog(config, logger);
    return readStatus(this.ownLog, config, await ownersOf(this.context));
  }

  async close(): Promise<void> {
    await this.ownLog?.close();
  }
}
