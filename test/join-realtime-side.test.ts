/** The realtime side of a ranking record: copied from the bytes of a features record, the same as decoded and encoded. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteBlocks } from '../src/base/byte-blocks.ts';
import { RankingRecords } from '../src/join/ranking-record.ts';
import { copyRealtimeSide } from '../src/join/realtime-side.ts';
import { VALUE_SCHEMA_ID_HEADER } from '../src/serde/frame.ts';
import { RecordWriter } from '../src/task/record-writer.ts';
import { AvroWriter } from '../state/avro-writer.ts';
import type { Layout } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import type { UserState } from '../state/user-state.ts';
import { codec } from './join-harness.ts';
import { arbitraryLayout, arbitraryManyLayout, arbitraryRecords, replay, SCORE } from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';

const PREFIX = codec.frame('sequence-features-value', Buffer.alloc(0));
const PARTITION = 3;
const layouts = fc.oneof(arbitraryLayout, arbitraryManyLayout);

function bodyOf(state: UserState, layout: Layout): Buffer {
  const writer = new RecordWriter({ prefix: Buffer.alloc(0), layout, stateCodec: new StateCodec(layout) });
  return writer.write(state, SCORE, null, new ByteBlocks()).bytes;
}

const sourceOf = (layout: Layout, offset: number) => ({
  partition: PARTITION,
  offset,
  windowSizes: new Map(layout.sequences.map(({ name, windowSize }) => [name, windowSize])),
});

describe('the realtime side of a features record', () => {
  it('has the bytes of the decoded record', () => {
    let copied = 0;
    let cut = 0;
    fc.assert(
      fc.property(layouts, arbitraryRecords, fc.nat(), (layout, inputs, offset) => {
        const { state } = replay(inputs, layout);
        if (state === null) return;
        const body = bodyOf(state, layout);
        const ranking = new RankingRecords({ codec, layout, partition: PARTITION });
        const record = { offset, timestampMs: 1, key: Buffer.from(state.userId) };
        // A record whose schema is named by its header is always decoded.
        const headers = { [VALUE_SCHEMA_ID_HEADER]: PREFIX };
        const decoded = ranking.realtime({ ...record, value: body, headers }, new ByteBlocks());
        const value = Buffer.concat([PREFIX, body]);
        expect(ranking.realtime({ ...record, value, headers: {} }, new ByteBlocks())).toEqual(decoded);
        const isCopied = copyRealtimeSide(body, new AvroWriter(65_536), sourceOf(layout, offset)) !== undefined;
        if (!isCopied) return;
        copied += 1;
        const isCut = state.sequences.some(({ window }, at) => window.length > layout.sequences[at]!.windowSize);
        if (isCut) cut += 1;
      }),
      // About one record in seventy is cut.
      { ...FC_OPTIONS, numRuns: 3 * FC_OPTIONS.numRuns },
    );
    expect(copied).toBeGreaterThan(300);
    expect(cut).toBeGreaterThan(10);
  });

  it('is not copied from a record that ends too soon, or goes on', () => {
    fc.assert(
      fc.property(layouts, arbitraryRecords, fc.double({ min: 0, max: 1, noNaN: true }), (layout, inputs, share) => {
        const { state } = replay(inputs, layout);
        if (state === null) return;
        const body = bodyOf(state, layout);
        const source = sourceOf(layout, 7);
        const part = body.subarray(0, Math.floor(share * (body.length - 1)));
        expect(copyRealtimeSide(part, new AvroWriter(65_536), source)).toBeUndefined();
        expect(
          copyRealtimeSide(Buffer.concat([body, Buffer.alloc(1), part]), new AvroWriter(65_536), source),
        ).toBeUndefined();
      }),
      FC_OPTIONS,
    );
  });

  it('of any bytes is copied or not, without an error', () => {
    fc.assert(
      fc.property(layouts, fc.uint8Array({ maxLength: 300 }), (layout, bytes) => {
        copyRealtimeSide(Buffer.from(bytes), new AvroWriter(1_024), sourceOf(layout, 7));
      }),
      FC_OPTIONS,
    );
  });
});
