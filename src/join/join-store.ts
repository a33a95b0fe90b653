/** The newest sides of one partition's users in LevelDB: a cache of `ranking-features`, and how far it has come. */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { ProgressStore, type Change } from '../../state/progress-store.ts';
import { shippedSchema } from '../../topics/index.ts';
import type { Side, Sides } from './ranking-record.ts';

/** L: the input offsets up to which the store holds all users, and the end of `ranking-features` at that commit. */
export interface JoinPosition {
  readonly featuresOffset: number;
  readonly embeddingsOffset: number;
  readonly rankingEnd: number;
}

export interface SidesChange {
  readonly userId: string;
  /** Null removes the user. */
  readonly sides: Sides | null;
}

/** Offset (f64, -1: no such side), timestamp (f64) and length (u32) of each side; then the bytes of both. */
const SIDE_BYTES = 20;
const ABSENT = -1;
/** Part of the layout hash: a change of the bytes makes the store anew. */
const FORMAT = 1;

export class JoinStore {
  private readonly store: ProgressStore<JoinPosition>;

  private constructor(store: ProgressStore<JoinPosition>) {
    this.store = store;
  }

  /** `rememberedKeys`: the users whose checksums are kept from a read to the commit; those of one commit are enough. */
  static async open(
    folder: string,
    options: { readonly stateLayoutHash: string; readonly rememberedKeys: number; readonly logger: Logger },
  ): Promise<JoinStore> {
    const { stateLayoutHash, ...rest } = options;
    const layoutHash = storeHash(stateLayoutHash);
    return new JoinStore(await ProgressStore.open<JoinPosition>(folder, { ...rest, layoutHash }));
  }

  /** L; undefined: the store is empty, or its first fill was interrupted. */
  position(): JoinPosition | undefined {
    return this.store.position();
  }

  /** Whether the store holds what L says and nothing of what comes after it. */
  isWhole(): boolean {
    return this.store.isWhole();
  }

  /** Whether the last commit is longer ago than that, or may be. */
  isOlderThan(ageMs: number): boolean {
    return this.store.isOlderThan(ageMs);
  }

  isEmpty(): boolean {
    return this.store.isEmpty();
  }

  async getMany(userIds: readonly string[]): Promise<(Sides | undefined)[]> {
    const values = await this.store.getMany(userIds.map((userId) => Buffer.from(userId)));
    return values.map((value) => (value === undefined ? undefined : decode(value)));
  }

  /** Interrupted, it leaves the store at its old position, and not whole. */
  commit(changes: Iterable<SidesChange>, position: JoinPosition): Promise<void> {
    return this.store.commit(encodeAll(changes), position);
  }

  /** A part of what leads to the next position. */
  add(changes: Iterable<SidesChange>): Promise<void> {
    return this.store.add(encodeAll(changes));
  }

  wipe(): Promise<void> {
    return this.store.wipe();
  }

  close(): Promise<void> {
    return this.store.close();
  }
}

/** The sides are kept as they stand in the record, so another schema is another store. */
const storeHash = (stateLayoutHash: string): string =>
  createHash('sha256')
    .update(JSON.stringify([FORMAT, stateLayoutHash, shippedSchema('ranking-features-value')]))
    .digest('hex')
    .slice(0, 16);

function* encodeAll(changes: Iterable<SidesChange>): Generator<Change> {
  for (const { userId, sides } of changes) yield [Buffer.from(userId), sides === null ? null : encode(sides)];
}

function encode({ realtime, longTerm }: Sides): Buffer {
  const bytes = Buffer.allocUnsafe(2 * SIDE_BYTES + (realtime?.bytes.length ?? 0) + (longTerm?.bytes.length ?? 0));
  let at = 2 * SIDE_BYTES;
  for (const [index, side] of [realtime, longTerm].entries()) {
    const head = index * SIDE_BYTES;
    bytes.writeDoubleLE(side?.offset ?? ABSENT, head);
    bytes.writeDoubleLE(side?.timestampMs ?? 0, head + 8);
    bytes.writeUInt32LE(side?.bytes.length ?? 0, head + 16);
    at += side?.bytes.copy(bytes, at) ?? 0;
  }
  return bytes;
}

function decode(value: Buffer): Sides {
  const longTermStart = 2 * SIDE_BYTES + value.readUInt32LE(16);
  return {
    realtime: decodeSide(value, 0, 2 * SIDE_BYTES),
    longTerm: decodeSide(value, SIDE_BYTES, longTermStart),
  };
}

function decodeSide(value: Buffer, head: number, start: number): Side | null {
  const offset = value.readDoubleLE(head);
  if (offset === ABSENT) return null;
  const bytes = value.subarray(start, start + value.readUInt32LE(head + 16));
  return { offset, timestampMs: value.readDoubleLE(head + 8), bytes };
}
