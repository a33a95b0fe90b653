/**
 * A worker of the chaos test, in a process of its own: what `freshet run` is, and a place to die at. Production has
 * nothing but the step callback.
 */
import { createLogger } from '../../../src/base/logger.ts';
import { loadConfig } from '../../../src/base/config.ts';
import { Deployment } from '../../../src/run/deployment.ts';
import { GroupWorker } from '../../../src/run/group-worker.ts';
import { membershipOf } from '../../../src/run/group-member.ts';

/** What one worker is to do; given as JSON in the first argument. */
export interface ChaosJob {
  /** Of the configuration: brokers, registry, app id, data folder … */
  readonly flags: Readonly<Record<string, unknown>>;
  /** Null: it is left alone, or killed from outside. */
  readonly kill: {
    /** E.g. `features log-committed`. */
    readonly step: string;
    /** The first is 1. */
    readonly occurrence: number;
    /** At the step, or after the code has gone on: in the middle of what comes next. */
    readonly when: 'at' | 'after';
  } | null;
}

const { flags, kill } = JSON.parse(process.argv[2]!) as ChaosJob;
const stop = new AbortController();
process.once('SIGTERM', () => {
  stop.abort();
});
const logger = createLogger('info');
const deployment = await Deployment.open(loadConfig({ env: {}, flags, cwd: process.cwd() }), logger);
const worker = new GroupWorker({
  deployment,
  scorer: await deployment.loadScorer(),
  membership: membershipOf(deployment),
  signal: stop.signal,
  onStep: killer(),
});
await worker.run();
await deployment.close();

function killer(): (task: { kind: string }, point: string) => void {
  let left = kill?.occurrence ?? 0;
  const die = (): boolean => process.kill(process.pid, 'SIGKILL');
  return ({ kind }, point) => {
    if (`${kind} ${point}` !== kill?.step) return;
    left -= 1;
    if (left !== 0) return;
    if (kill.when === 'at') die();
    else setImmediate(die);
  };
}
