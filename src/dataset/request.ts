/** A moment at which somebody asked for a user's features, or would have: a label's, or that of a record served. */

export interface Request {
  /** Its number in the source, from 1. */
  readonly number: number;
  readonly userId: string;
  /** Milliseconds since the epoch; null only where there is a position. */
  readonly timeMs: number | null;
  /** It stands before the record at this offset of its user's partition of `user-actions`. Null: its time places it. */
  readonly position: number | null;
  /** What the source wants to find with the answer. */
  readonly payload: Buffer;
}

const HEAD_BYTES = 18;
const ABSENT = -1;

/** Time and position (f64 each), length of the user id (u16), the user id, the payload; the number stands elsewhere. */
export function encodeRequest({ userId, timeMs, position, payload }: Request): Buffer {
  const userBytes = Buffer.byteLength(userId);
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + userBytes + payload.length);
  bytes.writeDoubleLE(timeMs ?? ABSENT, 0);
  bytes.writeDoubleLE(position ?? ABSENT, 8);
  bytes.writeUInt16LE(userBytes, 16);
  bytes.write(userId, HEAD_BYTES);
  payload.copy(bytes, HEAD_BYTES + userBytes);
  return bytes;
}

export function decodeRequest(number: number, bytes: Buffer): Request {
  const [timeMs, position] = [bytes.readDoubleLE(0), bytes.readDoubleLE(8)];
  const userEnd = HEAD_BYTES + bytes.readUInt16LE(16);
  return {
    number,
    userId: bytes.toString('utf8', HEAD_BYTES, userEnd),
    timeMs: timeMs === ABSENT ? null : timeMs,
    position: position === ABSENT ? null : position,
    payload: bytes.subarray(userEnd),
  };
}
