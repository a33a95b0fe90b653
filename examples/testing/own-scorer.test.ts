// A scorer of one's own, under item vectors of one's own: here the mean of the window's vectors.
import { action, itemVectors, TestStream, type Score, type Scorer } from 'freshet/testing';
import { expect, test } from 'vitest';

const mean: Scorer = {
  ...{ hash: 'mean-1', space: 'shop-2', dimension: 2, hiddenSize: 3 },
  outcomes: ['click'],
  actionTypes: ['view'],
  // A fold: it goes on from the hidden state, here the sum of the vectors and their number.
  fold: async (rows) =>
    rows.map(({ hidden: before, actions, table }): Score => {
      const hidden = Float32Array.from(before ?? [0, 0, 0]);
      let withVector = 0;
      for (const { itemId } of actions) {
        const vector = table.vector(itemId);
        if (vector === undefined) continue;
        withVector += 1;
        [0, 1].forEach((at) => (hidden[at]! += vector.values[at]! * vector.scale));
        hidden[2]! += 1;
      }
      const click = hidden.slice(0, 2).map((sum) => sum / Math.max(1, hidden[2]!));
      return { hidden, intent: [click], propensity: Float32Array.of(1), withVector, finite: true };
    }),
};

test('the intent is the mean of the items seen, and items without a vector do not count', async () => {
  const stream = new TestStream({ scorer: mean });
  stream.activate(itemVectors('2026-01-01', { shoes: [1, 0], socks: [0, 1] }));
  stream.send(action('view', 'shoes'), action('view', 'socks'), action('view', 'new-in'));
  const features = await stream.features('user');
  expect(features?.intent['click']?.map((value) => Math.round(value * 100) / 100)).toEqual([0.5, 0.5]);
  expect(features?.record).toMatchObject({ itemVersion: '2026-01-01', itemsWithVector: 2 });
});
