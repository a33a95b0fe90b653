/** Whether a broker or a registry answers. Asked without a client: a client would retry, wait and log. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { FreshetError } from '../base/errors.ts';
import type { GuardedProcess } from './guarded-process.ts';
import { LOOPBACK } from './ports.ts';

const ASK_EVERY_MS = 50;
const ANSWER_WITHIN_MS = 2_000;
const READY_WITHIN_MS = 120_000;

/** ApiVersions, version 0, correlation id 7, no client id: the one request that needs neither login nor permission. */
const API_VERSIONS_REQUEST = Buffer.from('0000000a' + '0012' + '0000' + '00000007' + 'ffff', 'hex');

/** Resolves when the process answers; fails with what its log says when it ends before, or takes too long. */
export async function untilReady(
  name: string,
  process: GuardedProcess,
  answers: () => Promise<boolean>,
  signal?: AbortSignal,
): Promise<void> {
  const giveUpAtMs = performance.now() + READY_WITHIN_MS;
  while (!(await answers())) {
    signal?.throwIfAborted();
    if (!process.running) throw ended(name, process);
    if (performance.now() > giveUpAtMs) {
      throw new FreshetError(
        'LOCAL_KAFKA_FAILED',
        `${name} does not answer after ${READY_WITHIN_MS / 1000} s; its log ends with:\n${process.logTail()}`,
      );
    }
    await sleep(ASK_EVERY_MS);
  }
}

export function ended(name: string, process: GuardedProcess): FreshetError {
  return new FreshetError(
    'LOCAL_KAFKA_FAILED',
    `${name} has ended by itself; its log ends with:\n${process.logTail()}`,
  );
}

export async function brokerAnswers(port: number): Promise<boolean> {
  const socket = connect(port, LOOPBACK);
  try {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    await once(socket, 'connect', { signal });
    socket.write(API_VERSIONS_REQUEST);
    const [response] = (await once(socket, 'data', { signal })) as [Buffer];
    return response.length >= 10 && response.readInt32BE(4) === 7 && response.readInt16BE(8) === 0;
  } catch {
    return false; // Not yet: that is the answer to the question.
  } finally {
    socket.destroy();
  }
}

export async function registryAnswers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/subjects`, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false; // Not yet: that is the answer to the question.
  }
}
