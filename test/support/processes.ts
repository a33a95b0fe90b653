/** Which processes are there. */
import { execFileSync } from 'node:child_process';

export interface Running {
  readonly pid: number;
  readonly command: string;
}

/** The processes whose command line names `text`: a folder that only they use. */
export function processesNaming(text: string): Running[] {
  const lines = execFileSync('ps', ['-ww', '-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const [, pid, command] = /^\s*(\d+) (.*)$/.exec(line) ?? [];
    return command?.includes(text) === true ? [{ pid: Number(pid), command }] : [];
  });
}
