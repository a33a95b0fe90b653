import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const KAFKA_TESTS = 'test/kafka-*.test.ts';
/** Replaces a module for all who import it. */
const ALONE = ['test/store-upgrade.test.ts'];

/** What takes longest, the longest first: begun last, one of them would run alone at the end. */
const SLOWEST = [
  'kafka-chaos',
  'kafka-demo',
  'killed',
  'kafka-container',
  'kafka-worker',
  'kafka-audit',
  'demo',
  'feature-task.properties',
  'kafka-interop',
  'local-kafka',
  'local-kafka-command',
  'cli-run',
  'kafka-log-traps',
];

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = SLOWEST.indexOf(basename(moduleId, '.test.ts'));
      return index < 0 ? SLOWEST.length : index;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    // Guards, not measures: beside a broker and its workers anything may take its time.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    // Node's own loader, as everywhere else: Vite's would transform each file, and hot loops run slower through its getters.
    experimental: { viteModuleRunner: false },
    // Twice the cores that they are made for: much of the time is spent waiting for other processes.
    maxWorkers: 4,
    sequence: { sequencer: SlowestFirst },
    // Compiled sources are kept between processes, those that tests start among them: each starts in half the time.
    env: { NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache') },
    setupFiles: 'test/support/setup.ts',
    projects: [
      {
        extends: true,
        // Several files a process, one after the other: what one has compiled is not compiled again.
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [KAFKA_TESTS, ...ALONE], isolate: false },
      },
      { extends: true, test: { name: 'alone', include: ALONE } },
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
