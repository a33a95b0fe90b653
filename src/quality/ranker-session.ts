/** A ranker's ONNX model in onnxruntime. */
import { InferenceSession } from 'onnxruntime-node';
import { FreshetError } from '../base/errors.ts';

/** MODEL_INVALID unless its inputs and then its outputs have these names, with commas between them. */
export async function openRankerSession(bytes: Uint8Array, file: string, names: string): Promise<InferenceSession> {
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(bytes, {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      executionMode: 'sequential',
    });
  } catch (cause) {
    throw new FreshetError('MODEL_INVALID', `onnxruntime cannot load ${file}`, { cause });
  }
  const found = [...session.inputNames, ...session.outputNames].join();
  if (found === names) return session;
  throw new FreshetError('MODEL_INVALID', `${file} has the inputs and outputs ${found}, not ${names}`);
}
