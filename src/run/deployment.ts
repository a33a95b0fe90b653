/**
 * A deployment, opened: the log, the registry's codec and the declared topics. With brokers both are elsewhere, and the
 * data folder holds nothing that the log does not; without, it holds all, and serves one process at a time.
 *
 *     <data-dir>/log                     the embedded log; not with brokers
 *     <data-dir>/schemas.json            schema ids; not with brokers
 *     <data-dir>/state/user-actions-<p>  the store of the feature task of partition p
 *     <data-dir>/state/join-<p>          the store of the join task of partition p
 *     <data-dir>/rejected-rows           rows that `freshet load` could not read
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { FreshetError, storageError } from '../base/errors.ts';
import { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import { EmbeddedLog } from '../log/embedded.ts';
import type { Log } from '../log/log.ts';
import { Codec } from '../serde/codec.ts';
import { Registry } from '../serde/registry.ts';
import { declareTopics } from '../../topics/index.ts';

export interface OpenOptions {
  readonly signal?: AbortSignal;
  /** For how long; Infinity: until it answers. */
  readonly registryWaitMs?: number;
}

const REGISTRY_WAIT_MS = 10_000;

export class Deployment {
  readonly config: Config;
  readonly logger: Logger;
  readonly log: Log;
  readonly codec: Codec;
  readonly itemVersions: ItemVersions;
  /** How long a compacted topic keeps a tombstone; for ever where nothing is compacted. */
  readonly deleteRetentionMs: number;

  constructor(config: Config, logger: Logger, log: Log, codec: Codec) {
    this.config = config;
    this.logger = logger;
    this.log = log;
    this.codec = codec;
    this.itemVersions = new ItemVersions({ log, codec });
    this.deleteRetentionMs = config.brokers.length === 0 ? Infinity : tombstoneRetentionMs(config);
  }

  /** With brokers a registry that does not answer is waited for; `signal` ends the wait. */
  static async open(config: Config, logger: Logger, options: OpenOptions = {}): Promise<Deployment> {
    try {
      await mkdir(config.dataDir, { recursive: true });
      return config.brokers.length > 0
        ? await openOnKafka(config, logger, options)
        : await openEmbedded(config, logger);
    } catch (error) {
      throw storageError(error, config.dataDir) ?? folderError(error, config.dataDir);
    }
  }

  /** The intent model: loaded, proved and hashed. Takes about a second, so only commands that score call it. */
  async loadScorer(): Promise<Scorer> {
    const { OnnxScorer } = await import('../intent/onnx-scorer.ts');
    return OnnxScorer.load(this.config.model);
  }

  storeFolder(kind: 'user-actions' | 'join', partition: number): string {
    return join(this.config.dataDir, 'state', `${kind}-${partition}`);
  }

  close(): Promise<void> {
    return this.log.close();
  }
}

async function openEmbedded(config: Config, logger: Logger): Promise<Deployment> {
  const log = await EmbeddedLog.open(join(config.dataDir, 'log'));
  try {
    await log.createTopics(declareTopics(config.partitions));
    const registry = await Registry.open({ dataDir: config.dataDir });
    return new Deployment(config, logger, log, await Codec.open(registry));
  } catch (error) {
    await log.close();
    throw error;
  }
}

async function openOnKafka(
  config: Config,
  logger: Logger,
  { signal, registryWaitMs = REGISTRY_WAIT_MS }: OpenOptions,
): Promise<Deployment> {
  const { registry: url, registryMode: mode, registryAuth: auth } = config;
  // Only here: without brokers nothing has a use for it.
  const { openKafkaLog } = await import('../log/kafka.ts');
  const log = openKafkaLog(config, logger);
  try {
    await checkPartitions(log, config);
    const registry = await Registry.connect({
      ...{ url: url!, mode, auth, waitMs: registryWaitMs, logger },
      ...(signal && { signal }),
    });
    return new Deployment(config, logger, log, await Codec.open(registry));
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** What the operating system says about the folder is for a person to mend, and no defect of ours. */
function folderError(error: unknown, dataDir: string): unknown {
  if (error instanceof FreshetError || (error as NodeJS.ErrnoException).syscall === undefined) return error;
  return new FreshetError('STORAGE_FAILED', `${dataDir}: ${(error as Error).message}`, { cause: error });
}

/**
 * Users are placed by the number of partitions, so no command may work with another one than the topics have. The other
 * settings matter to those who write for long: `run` checks them too.
 */
async function checkPartitions(log: Log, { partitions }: Config): Promise<void> {
  const existing = await log.topics();
  for (const { name: topic, partitions: declared } of declareTopics(partitions)) {
    const actual = existing.get(topic);
    if (actual === undefined) {
      // A topic that may not be described is not listed either; asked for by name it is refused.
      await log.endOffset({ topic, partition: 0 }).catch((error: unknown) => {
        if (!(error instanceof FreshetError) || error.code !== 'UNKNOWN_TOPIC') throw error;
      });
      throw new FreshetError('TOPIC_CONFIG', `${topic} is absent`, { position: { topic } });
    }
    if (actual !== declared) {
      const detail = `it has ${actual}, configured are ${declared}`;
      throw new FreshetError('PARTITIONS_CHANGED', detail, { position: { topic } });
    }
  }
}

/** The shortest of the topics that stores are restored from; `run` has checked that the topics keep to it. */
function tombstoneRetentionMs({ partitions }: Config): number {
  const retentions = declareTopics(partitions).map(({ tombstoneRetentionMs: ms }) => ms ?? Infinity);
  return Math.min(...retentions);
}
