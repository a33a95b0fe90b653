/** Nothing of models/ is used that its card does not vouch for: data, hash, quality and parity. */
import { createHash } from 'node:crypto';
import { appendFileSync, cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { readModelFolder } from '../src/intent/model-card.ts';
import { Rankers } from '../src/quality/rankers.ts';
import { ReferenceRanker } from '../src/quality/reference-ranker.ts';
import { readRecipes } from '../src/vectors/recipes.ts';
import { readModelJson } from './quality-harness.ts';
import { tempDir } from './support/temp-dir.ts';

type Json = Record<string, unknown>;

const MODELS = ['intent', 'item-vectors', 'long-term', 'ranker', 'transact'] as const;
type Model = (typeof MODELS)[number];

/** Loads one of the models from a folder like models/. */
const LOAD: Record<Model, (models: string) => Promise<unknown>> = {
  intent: (models) => readModelFolder(join(models, 'intent')),
  'item-vectors': readRecipes,
  'long-term': readRecipes,
  ranker: (models) => Rankers.load(join(models, 'ranker')),
  transact: (models) => ReferenceRanker.load(join(models, 'transact')),
};

const VOUCHED = [
  'name',
  'data',
  'data.file',
  'data.sha256',
  'quality',
  'quality.differences',
  'quality.differences.0.mean',
  'parity',
  'parity.file',
  'script',
  'trainedOn',
  'trainedOn.toExclusive',
];
/** Where a card has the hashes of its files, and the files. */
const FILES: readonly (readonly [Model, string, string])[] = [
  ['intent', 'sha256', 'intent.onnx'],
  ['item-vectors', 'projection.sha256', 'projection.f32'],
  ['ranker', 'arms.np.sha256', 'np.onnx'],
  ['ranker', 'arms.hybrid.sha256', 'hybrid.onnx'],
  ['transact', 'sha256', 'transact.onnx'],
];

/** A copy of models/ in which one of them is spoiled. */
async function loadSpoiled(model: Model, spoil: (folder: string) => void): Promise<unknown> {
  const copy = tempDir();
  for (const each of MODELS) cpSync(packagePath('models', each), join(copy, each), { recursive: true });
  spoil(join(copy, model));
  try {
    return await LOAD[model](copy);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function editCard(folder: string, edit: (card: Json) => void): void {
  const file = join(folder, 'card.json');
  const card = JSON.parse(readFileSync(file, 'utf8')) as Json;
  edit(card);
  writeFileSync(file, JSON.stringify(card));
}

/** Takes away what stands at a path like `data.sha256`; fails if nothing does. */
function remove(card: Json, path: string): void {
  const parts = path.split('.');
  const last = parts.pop()!;
  const parent = parts.reduce((value, part) => value[part] as Json, card);
  expect(parent).toHaveProperty([last]);
  Reflect.deleteProperty(parent, last);
}

const sizesIn = (folder: string): number[] => readdirSync(folder).map((name) => statSync(join(folder, name)).size);

const refused = (what: string) => ({
  code: 'MODEL_INVALID',
  remedy: expect.stringContaining('docs/models.md') as string,
  message: expect.stringContaining(what) as string,
});

describe('a model is not loaded', () => {
  it.each(MODELS.flatMap((model) => VOUCHED.map((path) => [model, path] as const)))(
    '%s, without %s in its card',
    async (model, path) => {
      const load = loadSpoiled(model, (folder) => {
        editCard(folder, (card) => {
          remove(card, path);
        });
      });
      await expect(load).rejects.toMatchObject(refused(`${path}: `));
    },
  );

  it.each(FILES)('%s, without %s in its card', async (model, path) => {
    const load = loadSpoiled(model, (folder) => {
      editCard(folder, (card) => {
        remove(card, path);
      });
    });
    await expect(load).rejects.toMatchObject(refused(`${path}: `));
  });

  it.each(FILES)('%s, if %s is the hash of another file than %s', async (model, _path, file) => {
    const load = loadSpoiled(model, (folder) => {
      appendFileSync(join(folder, file), ' ');
    });
    await expect(load).rejects.toMatchObject(refused(`but ${file} has `));
  });

  it.each(MODELS)('%s, without the fixture that its card names', async (model) => {
    const load = loadSpoiled(model, (folder) => {
      editCard(folder, (card) => {
        card['parity'] = { file: 'absent.json' };
      });
    });
    await expect(load).rejects.toMatchObject(refused('absent.json cannot be read'));
  });
});

describe('the committed models', () => {
  it.each(MODELS)('%s: was trained on the shipped data, before the cut', async (model) => {
    await expect(LOAD[model](packagePath('models'))).resolves.toBeDefined();
    const { data, trainedOn } = readModelJson<{
      data: { file: string; sha256: string };
      trainedOn: { toExclusive: string };
    }>(model, 'card.json');
    const found = createHash('sha256')
      .update(readFileSync(packagePath(data.file)))
      .digest('hex');
    expect(found).toBe(data.sha256);
    expect(Date.parse(trainedOn.toExclusive)).toBeLessThanOrEqual(Date.parse('2016-12-01T00:00:00Z'));
  });

  it('take less than 5 MB together', () => {
    const bytes = MODELS.flatMap((model) => sizesIn(packagePath('models', model)));
    expect(bytes.reduce((sum, size) => sum + size, 0)).toBeLessThan(5e6);
  });
});
