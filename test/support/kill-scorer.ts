/** The scorer of the killed runs: the shipped model; `fakeScorer()` in its place makes them start in half the time. */
import { packagePath } from '../../src/base/package-root.ts';
import { OnnxScorer } from '../../src/intent/onnx-scorer.ts';
import type { Scorer } from '../../src/intent/scorer.ts';

export const loadKillScorer = (): Promise<Scorer> => OnnxScorer.load(packagePath('models', 'intent'));
