/** A deployment with some past, replays of it into targets of their own, and what stands in either. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { EmbeddedLog } from '../../src/log/embedded.ts';
import type { Log } from '../../src/log/log.ts';
import { records } from '../../src/log/newest.ts';
import { resolveStretches, type Place } from '../../src/replay/range.ts';
import { replayInto, type Replayed, type ReplayRunOptions } from '../../src/replay/replay-run.ts';
import { translationBetween } from '../../src/replay/translation.ts';
import type { Deployment } from '../../src/run/deployment.ts';
import type { Codec } from '../../src/serde/codec.ts';
import { declareTopics, type TopicName } from '../../topics/index.ts';
import { fakeScorer } from './fake-scorer.ts';
import { fastDir } from './temp-dir.ts';

const SILENT = pino({ level: 'silent' });

export interface ReplayOptions extends Partial<Omit<ReplayRunOptions, 'source' | 'target'>> {
  readonly from?: Place;
  readonly to?: Place;
  readonly partitions?: readonly number[];
}

type Source = Pick<Deployment, 'log' | 'codec' | 'itemVersions' | 'config'>;

/** An embedded log with the topics of the source. */
export async function openTarget({ config }: Pick<Source, 'config'>): Promise<EmbeddedLog> {
  const log = await EmbeddedLog.open(join(fastDir(), 'log'));
  await log.createTopics(declareTopics(config.partitions));
  return log;
}

export async function replayed(source: Source, target: Log, options: ReplayOptions = {}): Promise<Replayed> {
  const { log, codec, itemVersions, config } = source;
  const partitions = options.partitions ?? Array.from({ length: config.partitions }, (_, partition) => partition);
  return replayInto({
    ...{
      source: log,
      sourceAppId: config.appId,
      target,
      codec,
      itemVersions,
      config,
      translation: translationBetween(codec, codec),
    },
    ...{ scorer: fakeScorer(), users: undefined, logger: SILENT, deleteRetentionMs: Infinity },
    ...{ signal: new AbortController().signal, onProgress: () => undefined },
    stretches: await resolveStretches({ log, partitions, from: options.from, to: options.to }),
    folder: mkdtempSync(join(fastDir(), 'replay-')),
    ...options,
  });
}

/** Every record of a topic, in order, as hex: key and Avro body. */
export async function bodies(log: Log, codec: Codec, topic: TopicName, partitions: number): Promise<string[]> {
  const all: string[] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    const at = { topic, partition };
    for await (const { key, value, headers } of records(log, at, await log.startOffset(at), await log.endOffset(at))) {
      const body = value === null ? 'gone' : codec.body(value, headers).toString('hex');
      all.push(`${partition} ${key?.toString('hex') ?? 'none'} ${body}`);
    }
  }
  return all;
}

/** The newest record of each key, those that are gone left out, sorted. */
export async function newestBodies(log: Log, codec: Codec, topic: TopicName, partitions: number): Promise<string[]> {
  const newest = new Map<string, string>();
  for (const record of await bodies(log, codec, topic, partitions)) {
    const [partition, key, body] = record.split(' ') as [string, string, string];
    if (body === 'gone') newest.delete(`${partition} ${key}`);
    else newest.set(`${partition} ${key}`, body);
  }
  return Array.from(newest, ([name, body]) => `${name} ${body}`).sort();
}
