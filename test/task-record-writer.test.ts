/** The bytes of a features record, written by hand: those that avsc gives for the same state and description. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteBlocks } from '../src/base/byte-blocks.ts';
import { RecordWriter } from '../src/task/record-writer.ts';
import { AvroWriter } from '../state/avro-writer.ts';
import { describe as describeUser, type ScoredWindow } from '../state/describe.ts';
import type { Layout } from '../state/layout.ts';
import { StateCodec } from '../state/state-codec.ts';
import type { WrittenState } from '../state/state-writer.ts';
import type { UserState } from '../state/user-state.ts';
import {
  action,
  arbitraryLayout,
  arbitraryManyLayout,
  arbitraryRecords,
  descriptionType,
  records,
  replay,
  SCORE,
  testLayout,
} from './support/actions.ts';
import { FC_OPTIONS } from './support/seed.ts';
import avsc from 'avsc';

const PREFIX = Buffer.from([0, 0, 0, 0, 7]);

const expected = (state: UserState, layout: Layout, score: ScoredWindow): Buffer =>
  Buffer.concat([
    PREFIX,
    new StateCodec(layout).encode(state),
    descriptionType.toBuffer(describeUser(state, score, layout)),
  ]);

const writerOf = (layout: Layout): RecordWriter =>
  new RecordWriter({ prefix: PREFIX, layout, stateCodec: new StateCodec(layout) });

const arbitraryScore = fc.record({
  itemVersion: fc.option(fc.string()),
  itemsWithVector: fc.nat(),
  intent: fc
    .array(fc.float(), { minLength: 2, maxLength: 2 })
    .map((values) => values.map((value) => Float32Array.of(value))),
  finite: fc.boolean(),
});

describe('a features record', () => {
  it('has the bytes of the schema after each record of a user, from scratch and from the record before', () => {
    let appended = 0;
    fc.assert(
      fc.property(
        fc.oneof(arbitraryLayout, arbitraryManyLayout),
        arbitraryRecords,
        arbitraryScore,
        (layout, inputs, given) => {
          const score: ScoredWindow = { ...SCORE, ...given };
          const writer = writerOf(layout);
          let written: WrittenState | null = null;
          replay(inputs, layout, null, (before, _, { state }) => {
            if (state === null) {
              written = null;
              return;
            }
            const bytes = expected(state, layout, score);
            const next = writer.write(state, score, written, new ByteBlocks());
            expect(next.bytes).toEqual(bytes);
            expect(next.bytes.subarray(next.stateStart, next.stateEnd)).toEqual(new StateCodec(layout).encode(state));
            expect(writer.write(state, score, null, new ByteBlocks()).bytes).toEqual(bytes);
            if (written !== null && state !== before) appended += 1;
            ({ written } = next);
          });
        },
      ),
      { ...FC_OPTIONS, numRuns: 300 },
    );
    expect(appended).toBeGreaterThan(300);
  });

  const layout = testLayout({ windowSize: 1_000, sealSize: 32 });
  const write = (state: UserState): Buffer => writerOf(layout).write(state, SCORE, null, new ByteBlocks()).bytes;

  it('of any size has them', () => {
    const long = Array.from({ length: 500 }, (_, at) => action(at, `${at}`.padStart(200, 'é')));
    const { state } = replay(records(long), layout);
    expect(write(state!)).toEqual(expected(state!, layout, SCORE));
    expect(write(state!).length).toBeGreaterThan(200_000);
  });

  it('that does not fit its schema names the field, and no value', () => {
    const { state } = replay(records([action(1, 'secret')]), layout);
    expect(() => write({ ...state!, version: 2 ** 52 })).toThrow(/version/);
    expect(() => write({ ...state!, version: 0.5 })).toThrow(/version/);
    expect(() => write({ ...state!, version: 2 ** 52 })).not.toThrow(/secret|4503599627370496/);
  });

  it('stays as it is when others are written after it', () => {
    const writer = writerOf(layout);
    const blocks = new ByteBlocks();
    const states = Array.from({ length: 300 }, (_, at) => replay(records([action(at, `item-${at}`)]), layout).state!);
    const written = states.map((state) => writer.write(state, SCORE, null, blocks).bytes);
    written.forEach((bytes, at) => {
      expect(bytes.equals(expected(states[at]!, layout, SCORE))).toBe(true);
    });
  });
});

describe('the primitives of Avro', () => {
  const long = avsc.Type.forSchema('long');
  const string = avsc.Type.forSchema('string');

  it('are those of avsc', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.integer(),
          fc.maxSafeInteger().filter((value) => Math.abs(value) < 2 ** 52),
        ),
        fc.string({ unit: 'binary', maxLength: 200 }),
        fc.double(),
        fc.float(),
        (integer, text, double, float) => {
          const writer = new AvroWriter(2_048);
          writer.long(integer);
          writer.string(text);
          writer.double(double);
          writer.float(float);
          const numbers = Buffer.alloc(12);
          numbers.writeDoubleLE(double);
          numbers.writeFloatLE(float, 8);
          expect(writer.isWhole).toBe(true);
          expect(writer.bytes.subarray(0, writer.at)).toEqual(
            Buffer.concat([long.toBuffer(integer), string.toBuffer(text), numbers]),
          );
        },
      ),
      FC_OPTIONS,
    );
  });

  it('end at the end of the buffer, whatever crosses it', () => {
    const writes: ((writer: AvroWriter) => void)[] = [
      (writer) => writer.long(2 ** 40),
      (writer) => writer.string('short'),
      (writer) => writer.string('é'.repeat(70)),
      (writer) => writer.double(1),
      (writer) => writer.float(1),
      (writer) => writer.copy(Buffer.alloc(9), 0, 9),
      (writer) => writer.longs([1, 2, 3]),
      (writer) => writer.float32s(Float32Array.of(1, 2)),
    ];
    for (const write of writes) {
      const writer = new AvroWriter(4);
      writer.start(3);
      write(writer);
      expect(writer.isWhole).toBe(false);
      const size = writer.at;
      const roomy = new AvroWriter(200);
      roomy.start(3);
      write(roomy);
      expect([roomy.at, roomy.isWhole]).toEqual([size, true]);
    }
  });
});
