#!/usr/bin/env node
// Starts the CLI: from the compiled files where they are (the container, the package), else from the TypeScript
// sources, whose types Node strips by itself from 22.18 on.
import { existsSync } from 'node:fs';
import module from 'node:module';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 18)) {
  console.error(
    `freshet needs Node 22.18 or newer, this is ${process.versions.node}. ` +
      'Inside a clone, `npm run freshet -- …` uses the Node that `npm ci` installed.',
  );
  process.exit(2);
}
// What Node has compiled is kept in the system's temporary folder: the next command starts in half the time.
module.enableCompileCache();
const source = new URL('../src/cli/main.ts', import.meta.url);
const { main } = await import(
  existsSync(source) ? source.href : new URL('../dist/src/cli/main.js', import.meta.url).href
);
process.exitCode = await main(process.argv);
