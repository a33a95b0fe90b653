/** The ONNX session behind the scorer: input buffers that are filled in place, and one call at a time. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { FreshetError } from '../base/errors.ts';
import { BATCH_SIZES, CELLS_MAX, type BatchSize } from './packing.ts';

export interface ModelShape {
  /** H: numbers of the hidden state, whatever its shape. */
  readonly hiddenSize: number;
  /** The hidden state's shape in the model, behind the rows; their product is H. */
  readonly stateShape: readonly number[];
  /** D: components of an item vector. */
  readonly dimension: number;
  /** O: intent vectors a row. */
  readonly outcomeCount: number;
  /** A: propensities a row. */
  readonly actionTypeCount: number;
}

/** One call's inputs. Cell (t, b) of a call of B rows is t · B + b; the arrays are longer than any one call needs. */
export interface ModelInputs {
  /** [B, H], H in the order of the state's shape */
  readonly hidden: Float32Array;
  /** [T, B, D] */
  readonly itemVectors: Float32Array;
  /** [T, B], 1 or 0 */
  readonly hasVector: Float32Array;
  /** [T, B] each */
  readonly actionTypes: Int32Array;
  readonly surfaces: Int32Array;
  readonly gaps: Int32Array;
  /** [B], each 1 to T */
  readonly lengths: Int32Array;
}

/** One call's outputs, overwritten by the next call of the same size. */
export interface ModelOutputs {
  /** [B, H] */
  readonly hidden: Float32Array;
  /** [B, O, D] */
  readonly intent: Float32Array;
  /** [B, A], logits */
  readonly propensity: Float32Array;
}

/** What the scorer and the proofs at load need of a model. Calls must not overlap: the buffers are shared. */
export interface ModelRunner {
  readonly shape: ModelShape;
  readonly inputs: ModelInputs;
  /** Zeros the inputs of a call and sets every length to 1. */
  clear(size: BatchSize, steps: number): void;
  run(size: BatchSize, steps: number): Promise<ModelOutputs>;
}

export const INPUT_NAMES = ['hidden', 'item_vectors', 'has_vector', 'action_types', 'surfaces', 'gaps', 'lengths'];
export const OUTPUT_NAMES = ['hidden_out', 'intent', 'propensity'];

const SESSION_OPTIONS: InferenceSession.SessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
};

export class ModelSession implements ModelRunner {
  readonly shape: ModelShape;
  readonly inputs: ModelInputs;
  readonly #session: InferenceSession;
  readonly #outputs: ReadonlyMap<BatchSize, OutputTensors>;

  private constructor(session: InferenceSession, shape: ModelShape) {
    this.shape = shape;
    this.#session = session;
    const rowsMax = Math.max(...BATCH_SIZES);
    this.inputs = {
      hidden: new Float32Array(rowsMax * shape.hiddenSize),
      itemVectors: new Float32Array(CELLS_MAX * shape.dimension),
      hasVector: new Float32Array(CELLS_MAX),
      actionTypes: new Int32Array(CELLS_MAX),
      surfaces: new Int32Array(CELLS_MAX),
      gaps: new Int32Array(CELLS_MAX),
      lengths: new Int32Array(rowsMax),
    };
    this.#outputs = new Map(BATCH_SIZES.map((size) => [size, outputTensors(size, shape)]));
  }

  /** Opens the model. MODEL_INVALID if the runtime refuses it or an input or output has another name. */
  static async open(model: Uint8Array, shape: ModelShape): Promise<ModelSession> {
    let session: InferenceSession;
    try {
      session = await InferenceSession.create(model, SESSION_OPTIONS);
    } catch (cause) {
      throw new FreshetError('MODEL_INVALID', 'onnxruntime cannot load the ONNX file', { cause });
    }
    requireNames('inputs', session.inputNames, INPUT_NAMES);
    requireNames('outputs', session.outputNames, OUTPUT_NAMES);
    return new ModelSession(session, shape);
  }

  clear(size: BatchSize, steps: number): void {
    const cells = size * steps;
    const { hidden, itemVectors, hasVector, actionTypes, surfaces, gaps, lengths } = this.inputs;
    hidden.fill(0, 0, size * this.shape.hiddenSize);
    itemVectors.fill(0, 0, cells * this.shape.dimension);
    hasVector.fill(0, 0, cells);
    for (const indices of [actionTypes, surfaces, gaps]) indices.fill(0, 0, cells);
    lengths.fill(1, 0, size);
  }

  async run(size: BatchSize, steps: number): Promise<ModelOutputs> {
    const { hidden, itemVectors, hasVector, actionTypes, surfaces, gaps, lengths } = this.inputs;
    const { hiddenSize, stateShape, dimension } = this.shape;
    const cells = size * steps;
    const outputs = this.#outputs.get(size);
    if (outputs === undefined) throw new FreshetError('INTERNAL', `no batch has ${size} rows`);
    const feeds = {
      hidden: new Tensor('float32', hidden.subarray(0, size * hiddenSize), [size, ...stateShape]),
      item_vectors: new Tensor('float32', itemVectors.subarray(0, cells * dimension), [steps, size, dimension]),
      has_vector: new Tensor('float32', hasVector.subarray(0, cells), [steps, size]),
      action_types: new Tensor('int32', actionTypes.subarray(0, cells), [steps, size]),
      surfaces: new Tensor('int32', surfaces.subarray(0, cells), [steps, size]),
      gaps: new Tensor('int32', gaps.subarray(0, cells), [steps, size]),
      lengths: new Tensor('int32', lengths.subarray(0, size), [size]),
    };
    try {
      await this.#session.run(feeds, outputs.tensors);
    } catch (cause) {
      throw new FreshetError('MODEL_INVALID', `a call of ${size} rows and ${steps} steps failed`, { cause });
    }
    return outputs.views;
  }
}

interface OutputTensors {
  readonly tensors: Record<string, Tensor>;
  readonly views: ModelOutputs;
}

/** The runtime writes into these: no allocation a call. */
function outputTensors(size: BatchSize, shape: ModelShape): OutputTensors {
  const { hiddenSize, stateShape, dimension, outcomeCount, actionTypeCount } = shape;
  const hidden = new Float32Array(size * hiddenSize);
  const intent = new Float32Array(size * outcomeCount * dimension);
  const propensity = new Float32Array(size * actionTypeCount);
  return {
    tensors: {
      hidden_out: new Tensor('float32', hidden, [size, ...stateShape]),
      intent: new Tensor('float32', intent, [size, outcomeCount, dimension]),
      propensity: new Tensor('float32', propensity, [size, actionTypeCount]),
    },
    views: { hidden, intent, propensity },
  };
}

function requireNames(what: string, found: readonly string[], needed: readonly string[]): void {
  if ([...found].sort().join() === [...needed].sort().join()) return;
  throw new FreshetError(
    'MODEL_INVALID',
    `the ${what} of the ONNX file are ${found.join(', ')}, not ${needed.join(', ')}`,
  );
}
