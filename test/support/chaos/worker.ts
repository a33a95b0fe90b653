/**
 * A worker of the chaos test, in a process of its own: what `freshet run` is, and a place to die at. Production has
 * nothing but the step callback.
 */
import { createLogger } from '../../../src/base/logger.ts';
import { loadConfig } from '../../../src/base/config.ts';
import { openKafkaLog } from '../../../src/log/kafka.ts';
import { Deployment } from '../../../src/run/deployment.ts';
import { GroupWorker } from '../../../src/run/group-worker.ts';
import { membershipOf } from '../../../src/run/group-member.ts';
import { Codec } from '../../../src/serde/codec.ts';
import { Registry } from '../../../src/serde/registry.ts';

/** What one worker is to do; given as JSON in the first argument. */
export interface ChaosJob {
  /** Of the configuration: brokers, registry, app id, data folder … */
  readonly flags: Readonly<Record<string, unknown>>;
  /** Before the names of topics that are this test's alone; schema ids are then those of an embedded registry. */
  readonly topicPrefix: string;
  /** Null: it is left alone, or killed from outside. */
  readonly kill: {
    /** E.g. `features log-committed`. */
    readonly step: string;
    /** The first is 1. */
    readonly occurrence: number;
    /** At the step, or after the code has gone on: in the middle of what comes next. */
    readonly when: 'at' | 'after';
    readonly signal: 'SIGKILL' | 'SIGSTOP';
  } | null;
}

const { flags, topicPrefix, kill } = JSON.parse(process.argv[2]!) as ChaosJob;
const stop = new AbortController();
process.once('SIGTERM', () => {
  stop.abort();
});
const logger = createLogger('info');
logger.info('listening');
const config = loadConfig({ env: {}, flags, cwd: process.cwd() });
const deployment = topicPrefix === '' ? await Deployment.open(config, logger) : await openPrefixed();
const worker = new GroupWorker({
  deployment,
  scorer: await deployment.loadScorer(),
  membership: membershipOf(deployment),
  signal: stop.signal,
  onStep: killer(),
});
await worker.run();
await deployment.close();

async function openPrefixed(): Promise<Deployment> {
  const codec = await Codec.open(await Registry.open({ dataDir: null }));
  return new Deployment(config, logger, openKafkaLog(config, logger, { topicPrefix }), codec);
}

function killer(): (task: { kind: string }, point: string) => void {
  let left = kill?.occurrence ?? 0;
  const die = (): boolean => process.kill(process.pid, kill?.signal);
  return ({ kind }, point) => {
    if (`${kind} ${point}` !== kill?.step) return;
    left -= 1;
    if (left !== 0) return;
    if (kill.when === 'at') die();
    else setImmediate(die);
  };
}
