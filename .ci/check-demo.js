// Checks the last line of `npm run demo -- --json` against what the shipped log must give.
import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';

const result = JSON.parse(readFileSync(process.argv[2], 'utf8').trim().split('\n').at(-1));
const rejected = Object.values(result.rejected).reduce((sum, count) => sum + count, 0);
assert.equal(result.actionsRead, 72_312);
assert.equal(result.accepted, 70_028);
assert.equal(result.accepted + rejected, result.actionsRead);
assert.equal(result.rejected.duplicate, 2_284);
assert.equal(result.users, 1_895);
assert.ok(result.features >= result.users);
assert.ok(result.ranked > 0);
console.log(`demo: ${JSON.stringify(result)}`);
