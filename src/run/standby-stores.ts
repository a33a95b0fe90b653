/** The two stores of a partition whose owner is another worker, kept open and close to what it has committed. */
import type { JoinStore } from '../join/join-store.ts';
import {
  catchUpJoined,
  catchUpUsers,
  joinCommitted,
  openJoined,
  openUsers,
  type CatchUpOptions,
} from '../snapshot/committed-stores.ts';
import type { UserStore } from '../task/user-store.ts';
import type { Deployment } from './deployment.ts';

export class StandbyStores {
  readonly partition: number;
  private readonly deployment: Deployment;
  private users: UserStore | undefined;
  private joined: JoinStore | undefined;

  constructor(deployment: Deployment, partition: number) {
    this.deployment = deployment;
    this.partition = partition;
  }

  /** Opens the stores if need be. Ends early, with the signal's reason, on the signal. */
  async catchUp(signal: AbortSignal): Promise<void> {
    const options = { partition: this.partition, signal, onProgress: () => undefined };
    await this.catchUpUsers(options);
    await this.catchUpJoined(options);
  }

  async close(): Promise<void> {
    const { users, joined } = this;
    this.users = undefined;
    this.joined = undefined;
    await users?.close();
    await joined?.close();
  }

  private async catchUpUsers(options: CatchUpOptions): Promise<void> {
    const { deployment, partition } = this;
    const { log, config } = deployment;
    const committed = await log.committed(config.appId, { topic: 'user-actions', partition });
    if (committed === undefined) return;
    this.users ??= await openUsers(deployment, partition);
    this.tell('features', await catchUpUsers(deployment, this.users, committed, options));
  }

  private async catchUpJoined(options: CatchUpOptions): Promise<void> {
    const { deployment, partition } = this;
    const committed = await joinCommitted(deployment, partition);
    if (committed === undefined) return;
    this.joined ??= await openJoined(deployment, partition);
    this.tell('join', await catchUpJoined(deployment, this.joined, committed, options));
  }

  private tell(kind: 'features' | 'join', { records }: { readonly records: number }): void {
    if (records === 0) return;
    this.deployment.logger.debug({ code: 'STANDBY', kind, partition: this.partition, records }, 'standby caught up');
  }
}
