/** Requests answered from a stream's log, in memory of the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { DatedFeatures, type Answer, type DatedFeaturesOptions } from '../../src/dataset/dated-features.ts';
import type { Lag, PassReport } from '../../src/dataset/dated-features.ts';
import type { Request } from '../../src/dataset/request.ts';
import { RequestOrder } from '../../src/dataset/request-order.ts';
import type { Stream } from './stream.ts';

const SILENT = pino({ level: 'silent' });
export const NO_LAG: Lag = { featuresMs: 0, vectorsMs: 0 };

export const request = (number: number, userId: string, place: Partial<Request>): Request => ({
  ...{ number, userId, timeMs: null, position: null, payload: Buffer.alloc(0) },
  ...place,
});

/** Answers of one partition, in the order in which they come. */
export async function answersOf(
  stream: Stream,
  partition: number,
  requests: readonly Request[],
  lag: Lag = NO_LAG,
  limits: Pick<DatedFeaturesOptions, 'maxRecords' | 'maxRequests'> = {},
): Promise<{ answers: Answer[]; report: PassReport }> {
  const { log, codec, scorer, itemVersions, config } = stream;
  const folder = mkdtempSync(join(stream.folder, 'dataset-'));
  const { partitions } = config;
  const order = await RequestOrder.open({ folder: join(folder, 'order'), partitions, lagMs: lag.featuresMs });
  try {
    for (const each of requests) await order.add(each);
    await order.flush();
    const dated = await DatedFeatures.open({
      ...{ log, codec, scorer, itemVersions, config, order, partition, folder, lag, logger: SILENT },
      ...limits,
    });
    try {
      const answers: Answer[] = [];
      for await (const each of dated.answers()) answers.push(...each);
      return { answers, report: dated.report() };
    } finally {
      await dated.close();
    }
  } finally {
    await order.close();
    rmSync(folder, { recursive: true });
  }
}
