// Prints the counts of a vitest JSON report as `N passed, N failed`; fails if a test was skipped or none ran.
import { readFileSync } from 'node:fs';

const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped, numTodoTests: todo } = report;
const broken = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.length === 0,
).length;
if (skipped + todo > 0) console.log(`${skipped + todo} tests were skipped: none may be`);
console.log(`${passed} passed, ${failed + broken} failed`);
process.exitCode = failed + broken + skipped + todo > 0 || passed === 0 ? 1 : 0;
