/** What features are made with, wherever they are made: in the stream, or from its log once more. */
import type { Logger } from 'pino';
import type { Config } from '../base/config.ts';
import type { ItemVersions } from '../intent/item-versions.ts';
import type { Scorer } from '../intent/scorer.ts';
import type { Log } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';

export interface FeatureContext {
  readonly log: Log;
  readonly codec: Codec;
  readonly scorer: Scorer;
  readonly itemVersions: ItemVersions;
  readonly config: Config;
  readonly logger: Logger;
}
