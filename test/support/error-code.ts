import { FreshetError } from '../../src/base/errors.ts';

/** The code of the error that it fails with; `fine` if it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof FreshetError) return error.code;
    throw error;
  }
  return 'fine';
}
