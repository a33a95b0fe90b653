import { defineConfig } from 'vitest/config';

const KAFKA_TESTS = 'test/kafka-*.test.ts';

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [KAFKA_TESTS] } },
      {
        extends: true,
        test: {
          name: 'kafka',
          include: [KAFKA_TESTS],
          // One broker and one registry for all of them; without Java or Maven they fail.
          globalSetup: 'test/support/kafka-global-setup.ts',
        },
      },
    ],
  },
});
