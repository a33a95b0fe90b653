/**
 * A disk that fills up under `freshet run`: it stops with DISK_FULL and exit 4, goes on after room is made, and nothing
 * tells the result from that of a run that was never disturbed. The disk is a tmpfs in a mount namespace of its own, which
 * root may make, and anybody where user namespaces are allowed.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packagePath } from '../src/base/package-root.ts';
import { tempDir } from './support/temp-dir.ts';

const SCRIPT = `
freshet() { "$NODE" bin/freshet.js "$@" --data-dir="$DIR/data" --commit-max-records=200 --log-level=error; }
if [ "$ROOM" != all ]; then mount -t tmpfs -o size=100m tmpfs "$DIR"; fi
head -n 6000 <("$NODE" -e 'process.stdout.write(require("zlib").gunzipSync(require("fs").readFileSync(process.argv[1])))' data/deskdrop/actions.csv.gz) > "$DIR/actions.csv"
freshet load "$DIR/actions.csv" --format=deskdrop >/dev/null
if [ "$ROOM" != all ]; then
  dd if=/dev/zero of="$DIR/filler" bs=1M 2>/dev/null || true
  truncate -s -"$ROOM" "$DIR/filler"
  code=0; freshet run --until-end >/dev/null || code=$?
  echo "stopped with $code"
  rm "$DIR/filler"
fi
freshet run --until-end | "$NODE" -e 'const {total} = JSON.parse(require("fs").readFileSync(0)); console.log(JSON.stringify(total))'
freshet inspect --hash --json
`;

async function run(room: string): Promise<{ lines: string[]; logs: string }> {
  const env = { ...process.env, NODE: process.execPath, DIR: tempDir(), ROOM: room };
  const { stdout, stderr } = await promisify(execFile)('unshare', ['-Urm', 'bash', '-ec', SCRIPT], {
    env,
    cwd: packagePath(),
  });
  return { lines: stdout.trim().split('\n'), logs: stderr };
}

test('a full disk stops the run cleanly; with room again it goes on and loses nothing', async () => {
  const [undisturbed, disturbed] = [await run('all'), await run('2M')];
  expect(disturbed.lines[0]).toBe('stopped with 4');
  expect(disturbed.logs).toContain('"code":"DISK_FULL"');
  expect(disturbed.logs).toContain('Make room');
  expect(disturbed.lines.slice(1)).toEqual(undisturbed.lines);
}, 120_000);
