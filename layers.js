/**
 * The folders in the order in which data reaches them. A folder may import itself and the folders above it in this
 * list, never one below: eslint.config.js turns the list into a lint rule, test/layers.test.ts proves that it bites.
 */
export const LAYERS = [
  'src/base', // errors, configuration, small pure helpers
  'src/local-kafka', // a real Kafka and registry on this machine, for tests and demos
  'topics', // what is on the wire
  'src/serde', // bytes <-> records, the registry
  'src/log', // the log port and its implementations
  'src/ingest', // files -> log: actions, vectors
  'state', // what is kept per user
  'src/intent', // item tables and the model that folds a window
  'src/vectors', // item and user vectors built from the log
  'src/task', // decode -> reduce -> fold -> describe -> commit
  'src/join', // features and long-term vectors, joined for ranking
  'src/snapshot', // stores kept as of an offset
  'src/migrate', // a state set back, or handed to another application
  'src/replay', // the log once more: features as they were, and compared
  'src/dataset', // features as they were when somebody asked: rows to train on, skew
  'src/observe', // metrics, health, status
  'src/run', // a deployment opened, and the worker that drives its tasks
  'src/testing', // for tests of what users build on Freshet
  'src/privacy', // users that leave: expiry and erasure
  'src/quality', // what the features are worth, measured
  'src/demo', // the product in two minutes
  'src/cli', // the commands
];
