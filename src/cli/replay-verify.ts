/** `freshet replay --verify`: what was emitted, compared with what a replay makes. */
import { FreshetError } from '../base/errors.ts';
import { verify } from '../replay/verify.ts';
import { grouped } from './progress.ts';
import type { ReplayInput, ReplayResult } from './replay.ts';
import { verifyText } from './verify-text.ts';

export interface VerifyFlags {
  readonly verify?: boolean;
  readonly commitSpan?: number;
}

export async function verifyEmitted(input: ReplayInput, { commitSpan }: VerifyFlags): Promise<ReplayResult> {
  const { deployment, stretches, users, line, signal, logger } = input;
  if (users !== undefined) throw new FreshetError('USAGE', '--verify and --users do not go together');
  const toGo = stretches.reduce((sum, { from, to }) => sum + to - from, 0);
  let replayed = 0;
  const report = await verify({
    ...{ ...deployment, logger, scorer: await deployment.loadScorer(), stretches, signal },
    ...(commitSpan !== undefined && { commitSpan }),
    onProgress: (records) => {
      replayed += records;
      line.update(`${grouped(replayed)} of about ${grouped(toGo)} records`, { records: replayed, toGo });
    },
  });
  const failure = report.isEqual ? undefined : new FreshetError('NOT_EQUAL', describe(report));
  return { json: report.summary(), text: verifyText(report), ...(failure && { failure }) };
}

const describe = ({ compared, equal, missing, gaps }: Awaited<ReturnType<typeof verify>>): string =>
  `${grouped(equal)} of ${grouped(compared)} records are equal, ${grouped(missing)} are missing, ${gaps.length} gaps`;
