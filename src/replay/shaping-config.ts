/** The part of the configuration that a record depends on, besides the model. */
import { hash } from 'node:crypto';
import type { Config } from '../base/config.ts';

export const SHAPING_KEYS = [
  'actionTypes',
  'undo',
  'sequences',
  'scoredSequence',
  'counterHalfLivesMs',
  'sessionGapMs',
  'maxFutureMs',
  'maxIdBytes',
  'maxSurfaceBytes',
] as const satisfies readonly (keyof Config)[];

export const shapingHash = (config: Config): string =>
  hash('sha256', JSON.stringify(SHAPING_KEYS.map((key) => config[key]))).slice(0, 16);
