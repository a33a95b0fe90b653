/** Which Kafka the tests start: `KAFKA_VERSION=3.9.1 npx vitest run --project kafka`; else the default of `npm run kafka`. */
const given = process.env['KAFKA_VERSION'];

export const KAFKA_VERSION: { readonly kafkaVersion?: string } = given ? { kafkaVersion: given } : {};
