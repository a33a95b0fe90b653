/** `freshet vectors activate`: from here on in the log, windows are folded under this item-vector version. */
import { FreshetError } from '../base/errors.ts';
import type { Log, NewRecord } from '../log/log.ts';
import type { Codec } from '../serde/codec.ts';
import { CONTROL_HEADER, CONTROL_SUBJECT } from '../../topics/index.ts';
import type { ControlRecord, ItemManifest } from '../../topics/records.ts';
import { checkVersionName, isComplete, readManifests, readRowDigests } from './item-version.ts';

const TOPIC = 'user-actions';

export interface ActivateResult {
  readonly manifest: ItemManifest;
  /** Offset of the control record in each partition of `user-actions`. */
  readonly offsets: readonly number[];
}

export interface ActivateOptions {
  /** The space of the model that folds under the version: no task could go past an activation of another one. */
  readonly space: string;
  /** Timestamp of the control records, milliseconds since the epoch. Default: now. */
  readonly timestampMs?: number;
}

/**
 * Appends the activation to every partition, in one step, once the version and what it is based on are found complete.
 * Throws VECTOR_VERSION_UNKNOWN, SPACE_MISMATCH, ITEM_VERSION_INCOMPLETE, UNKNOWN_TOPIC, USAGE; nothing is written then.
 */
export async function activateVersion(
  log: Log,
  codec: Pick<Codec, 'encode' | 'decode' | 'learn'>,
  version: string,
  { space, timestampMs = Date.now() }: ActivateOptions,
): Promise<ActivateResult> {
  checkVersionName(version);
  const partitions = (await log.topics()).get(TOPIC);
  if (partitions === undefined) throw new FreshetError('UNKNOWN_TOPIC', TOPIC);
  const manifests = await readManifests(log, codec);
  const manifest = manifests.get(version);
  if (manifest === undefined) throw new FreshetError('VECTOR_VERSION_UNKNOWN', version);
  if (manifest.space !== space) {
    throw new FreshetError('SPACE_MISMATCH', `${version} lives in ${manifest.space}, the model needs ${space}`, {
      remedy:
        'Nothing was activated. Activate a version of the model’s space, or name the model of these vectors (--model).',
    });
  }
  const chain = chainOf(version, manifests);
  const digests = await readRowDigests(log, codec, [...chain.keys()]);
  for (const [link, description] of chain) {
    if (isComplete(digests.get(link)!, description)) continue;
    throw new FreshetError('ITEM_VERSION_INCOMPLETE', `${link}: rows are missing or changed`);
  }
  return {
    manifest,
    offsets: await log.append(activationRecords(codec, partitions, { version, ...manifest }, timestampMs)),
  };
}

/** The control record that activates a version, for every partition of `user-actions`. */
export function activationRecords(
  codec: Pick<Codec, 'encode'>,
  partitions: number,
  { version, rowCount, contentHash, space }: NonNullable<ControlRecord['activation']>,
  timestampMs: number,
): NewRecord[] {
  const control: ControlRecord = { activation: { version, rowCount, contentHash, space }, expire: null };
  const value = codec.encode(CONTROL_SUBJECT, control);
  const headers = { [CONTROL_HEADER]: Buffer.from(CONTROL_SUBJECT) };
  return Array.from({ length: partitions }, (_, partition) => ({
    topic: TOPIC,
    partition,
    timestampMs,
    key: null,
    value,
    headers,
  }));
}

/** The version and those it is a change on, newest first, with their manifests. */
function chainOf(version: string, manifests: ReadonlyMap<string, ItemManifest>): Map<string, ItemManifest> {
  const chain = new Map<string, ItemManifest>();
  for (let link: string | null = version; link !== null;) {
    const manifest = manifests.get(link);
    if (manifest === undefined) {
      throw new FreshetError('ITEM_VERSION_INCOMPLETE', `${link}, a base of ${version}, has no manifest`);
    }
    if (chain.has(link)) throw new FreshetError('ITEM_VERSION_INCOMPLETE', `${link} is a base of itself`);
    chain.set(link, manifest);
    link = manifest.base;
  }
  return chain;
}
