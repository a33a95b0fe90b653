/** In every test file: Vitest ends its processes before Node would write what it has compiled to NODE_COMPILE_CACHE. */
import { flushCompileCache } from 'node:module';
import { afterAll } from 'vitest';

afterAll(() => {
  flushCompileCache();
});
