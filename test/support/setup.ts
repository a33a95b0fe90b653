/** In every test file. */
import { flushCompileCache } from 'node:module';
import { afterAll } from 'vitest';
import { removeTempDirs } from './temp-dir.ts';

afterAll(() => {
  removeTempDirs();
  // Vitest ends its processes before Node would write what it has compiled to NODE_COMPILE_CACHE.
  flushCompileCache();
});
