import { beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { proveBatchInvariance } from '../src/intent/batch-invariance.ts';
import { readModelFolder, type ModelFolder } from '../src/intent/model-card.ts';
import { ModelSession, type ModelOutputs, type ModelRunner } from '../src/intent/model-session.ts';
import type { BatchSize } from '../src/intent/packing.ts';

let files: ModelFolder;
let session: ModelSession;

beforeAll(async () => {
  files = await readModelFolder(packagePath('test', 'fixtures', 'intent', 'small'));
  session = await ModelSession.open(files.model, files.shape);
});

type Disturbance = (outputs: ModelOutputs, size: BatchSize, steps: number) => void;

/** The model, with something added to what it gives. */
function disturbed(disturb: Disturbance): ModelRunner {
  return {
    shape: session.shape,
    inputs: session.inputs,
    clear: (size, steps) => session.clear(size, steps),
    run: async (size, steps) => {
      const outputs = await session.run(size, steps);
      disturb(outputs, size, steps);
      return outputs;
    },
  };
}

/** Flips the last bit of a number, the least that can differ. */
function flipLastBit(array: Float32Array, at: number): void {
  const bits = new Uint32Array(array.buffer, array.byteOffset, array.length);
  bits[at]! ^= 1;
}

describe('the proof of batch invariance', () => {
  it('passes for the model as it is', async () => {
    await expect(proveBatchInvariance(session, files.parity)).resolves.toBeUndefined();
  });

  it.each<[string, Disturbance, RegExp]>([
    [
      'the last position of 256',
      ({ hidden }, size, steps) => size === 256 && steps > 1 && flipLastBit(hidden, hidden.length - 1),
      /hidden of sequence \d at position 255 of 256 rows, ragged/,
    ],
    [
      'one position of 64',
      ({ propensity }, size) => size === 64 && flipLastBit(propensity, 37 * session.shape.actionTypeCount),
      /propensity of sequence \d differs at position 37 of 64 rows/,
    ],
    [
      'a single step',
      ({ intent }, _, steps) => steps === 1 && flipLastBit(intent, 0),
      /intent of sequence \d differs at position 0 of 16 rows, stepwise/,
    ],
    [
      'padding',
      ({ hidden }, _, steps) => steps > 10 && flipLastBit(hidden, 0),
      /hidden of sequence \d differs at position 0 of 16 rows, with more padding/,
    ],
  ])('notices one bit at %s', async (_, disturb, message) => {
    const proof = proveBatchInvariance(disturbed(disturb), files.parity);
    await expect(proof).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await expect(proof).rejects.toThrow(new RegExp(message.source.replace(' at position', '( differs)? at position')));
  });
});
