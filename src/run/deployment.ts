/**
 * One data folder, opened: the log, the registry's codec and the declared topics. Embedded: one process at a time.
 *
 *     <data-dir>/log                     the embedded log
 *     <data-dir>/schemas.json            schema ids
 *     <data-dir>/state/user-actions-<p>  the store of the feature task of partition p
 *     <data-dir>/state/join-<p>          the store of the join task of partition p
 *     <data-dir>/rejected-rows           rows that `freshet load` could not read
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import { storageError } from '../base/errors.ts';
import { ItemVersions } from '../intent/item-versions.ts';
import { OnnxScorer } from '../intent/onnx-scorer.ts';
import type { Scorer } from '../intent/scorer.ts';
import { EmbeddedLog } from '../log/embedded.ts';
import type { Log } from '../log/log.ts';
import { Codec } from '../serde/codec.ts';
import { Registry } from '../serde/registry.ts';
import { declareTopics } from '../../topics/index.ts';

export class Deployment {
  readonly config: Config;
  readonly logger: Logger;
  readonly log: Log;
  readonly codec: Codec;
  readonly itemVersions: ItemVersions;

  private constructor(config: Config, logger: Logger, log: Log, codec: Codec) {
    this.config = config;
    this.logger = logger;
    this.log = log;
    this.codec = codec;
    this.itemVersions = new ItemVersions({ log, codec });
  }

  static async open(config: Config, logger: Logger): Promise<Deployment> {
    await mkdir(config.dataDir, { recursive: true }).catch((error: unknown) => {
      throw storageError(error, config.dataDir) ?? error;
    });
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

  /** The intent model: loaded, proved and hashed. Takes about a second, so only commands that score call it. */
  loadScorer(): Promise<Scorer> {
    return OnnxScorer.load(this.config.model);
  }

  storeFolder(kind: 'user-actions' | 'join', partition: number): string {
    return join(this.config.dataDir, 'state', `${kind}-${partition}`);
  }

  close(): Promise<void> {
    return this.log.close();
  }
}
