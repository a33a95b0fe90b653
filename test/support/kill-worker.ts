/**
 * A process that works on a deployment until it is killed, by itself at a step that it was told or by its parent. The
 * only place that knows failpoints: production has nothing but the step callback of a task. It loads what takes long,
 * says `ready`, and waits for its job.
 */
import { flushCompileCache } from 'node:module';
import { drive, openDeployment, type KillJob, type Step } from './kill-deployment.ts';
import { loadKillScorer } from './kill-scorer.ts';

const scorer = await loadKillScorer();
// Node writes the cache at the end of a process, which this one has not.
flushCompileCache();

function killer(kill: KillJob['kill']): (step: Step) => void {
  let left = kill?.occurrence ?? 0;
  const die = (): boolean => process.kill(process.pid, 'SIGKILL');
  return (step) => {
    if (step !== kill?.step) return;
    left -= 1;
    if (left > 0) return;
    if (kill.when === 'at') die();
    else setImmediate(die);
  };
}

async function work({ folder, commitMaxRecords, kill }: KillJob): Promise<void> {
  const deployment = await openDeployment(folder, commitMaxRecords);
  await drive(deployment, scorer, { reached: killer(kill), onStarted: () => process.send!('started') });
  await deployment.close();
  process.disconnect();
}

process.once('message', (job) => void work(job as KillJob));
process.send!('ready');
