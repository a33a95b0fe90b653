/**
 * `npm run test:kafka-versions`: what depends on the broker, against real brokers of other versions, one after another.
 * Ends with a line a version and test file, and with exit code 1 unless everything ran and passed. Versions may be
 * given: `npm run test:kafka-versions -- 3.9.1`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { packagePath } from '../../src/base/package-root.ts';

const VERSIONS = ['3.9.1', '4.0.0'];
/** The conformance suite of the log port, what a broker does that it does not say, and the chaos of five disturbances. */
const FILES = ['kafka-log', 'kafka-log-commits', 'kafka-log-traps', 'kafka-chaos'];
const VITEST = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');

/** Of Vitest's JSON report. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly startTime: number;
    readonly endTime: number;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

interface Row {
  readonly text: string;
  readonly passed: boolean;
}

async function test(version: string, reportFile: string): Promise<Row[]> {
  const files = FILES.map((name) => `test/${name}.test.ts`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`];
  const vitest = spawn(process.execPath, [VITEST, 'run', '--project', 'kafka', ...reporters, ...files], {
    cwd: packagePath(),
    env: { ...process.env, KAFKA_VERSION: version, CHAOS_DISTURBANCES: '5' },
    stdio: 'inherit',
  });
  const [exitCode] = (await once(vitest, 'exit')) as [number | null];
  const { testResults } = exitCode === null ? { testResults: [] } : readReport(reportFile);
  return FILES.map((name) => {
    const found = testResults.find((each) => basename(each.name) === `${name}.test.ts`);
    const statuses = found?.assertionResults.map(({ status }) => status) ?? [];
    const count = statuses.filter((status) => status === 'passed').length;
    const passed = exitCode === 0 && count > 0 && count === statuses.length;
    const seconds = found === undefined ? 0 : Math.round((found.endTime - found.startTime) / 1_000);
    const outcome = passed ? 'passed' : 'FAILED';
    return { text: `Kafka ${version}  ${name.padEnd(18)} ${outcome}  ${count} tests, ${seconds} s`, passed };
  });
}

function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return { testResults: [] }; // Vitest did not come so far: every file counts as failed.
  }
}

const given = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'freshet-versions-'));
const rows: Row[] = [];
for (const version of given.length > 0 ? given : VERSIONS) rows.push(...(await test(version, join(folder, version))));
rmSync(folder, { recursive: true, force: true });
console.log(`\n${rows.map(({ text }) => text).join('\n')}`);
process.exitCode = rows.every(({ passed }) => passed) ? 0 : 1;
