// What ranking is shown of a window: the newest K actions, without those that were undone.
import { action, featuresOf } from 'freshet/testing';
import { expect, test } from 'vitest';

test('a like that was taken back is not shown, and neither is what took it back', async () => {
  const features = await featuresOf([action('like', 'a1'), action('view', 'a2'), action('unlike', 'a1')]);
  expect(features.window().map(({ itemId }) => itemId)).toEqual(['a2']);
});

test('the window holds the newest three actions, newest first', async () => {
  const sequences = [{ name: 'engagement', windowSize: 3, sealSize: 2 }];
  const views = ['a1', 'a2', 'a3', 'a4'].map((item) => action('view', item));
  const features = await featuresOf(views, { config: { sequences } });
  expect(features.window().map(({ itemId }) => itemId)).toEqual(['a4', 'a3', 'a2']);
});
