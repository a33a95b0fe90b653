/** The scorer of the killed runs: a small model, since each of fifty processes loads and proves it. */
import { packagePath } from '../../src/base/package-root.ts';
import { OnnxScorer } from '../../src/intent/onnx-scorer.ts';
import type { Scorer } from '../../src/intent/scorer.ts';

export const loadKillScorer = (): Promise<Scorer> =>
  OnnxScorer.load(packagePath('test', 'fixtures', 'intent', 'small'));
