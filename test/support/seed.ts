/** The options of property tests: at least 1,000 cases, and a seed that is printed, so that a failure can be repeated. */
const given = process.env['FC_SEED'];
const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
process.stderr.write(`fast-check seed ${seed} (repeat with FC_SEED=${seed})\n`);

export const FC_OPTIONS = { seed, numRuns: 1_000, endOnFailure: true } as const;
