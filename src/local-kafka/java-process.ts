/** A Java program as a guarded process: its heap, its scratch folder, its log. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GuardedProcess } from './guarded-process.ts';
import type { Java } from './java.ts';

export interface JavaProgram {
  readonly java: Java;
  /** What follows the options of Java itself: the class path, the main class, its arguments. */
  readonly args: readonly string[];
  readonly heapMb: number;
  /** Compile fast instead of well, for a process that lives minutes: it starts in half the time. */
  readonly quick: boolean;
  readonly properties?: Readonly<Record<string, string>>;
  /** Classes as a former run had loaded them (see class-archive.ts); without it, starts take twice as long. */
  readonly classArchive?: string | undefined;
  /** Write such an archive at the end. */
  readonly writeClassArchive?: string | undefined;
  readonly dataDir: string;
  readonly logName: string;
  readonly removedWithParent?: string | undefined;
}

export const logFile = (dataDir: string, name: string): string => join(dataDir, 'logs', `${name}.log`);

export function startJava(program: JavaProgram): GuardedProcess {
  // Native libraries and caches are unpacked there; a killed process would leave them in the system's own.
  const scratch = join(program.dataDir, 'tmp');
  mkdirSync(scratch, { recursive: true });
  const options = [
    `-Xmx${program.heapMb}m`,
    `-Djava.io.tmpdir=${scratch}`,
    '-XX:-UsePerfData', // It lives in the system's temporary folder as well.
    ...(program.quick ? ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'] : []),
    ...(program.classArchive === undefined ? [] : [`-XX:SharedArchiveFile=${program.classArchive}`]),
    ...(program.writeClassArchive === undefined ? [] : [`-XX:ArchiveClassesAtExit=${program.writeClassArchive}`]),
    ...Object.entries(program.properties ?? {}).map(([name, value]) => `-D${name}=${value}`),
  ];
  return new GuardedProcess([program.java.command, ...options, ...program.args], {
    logFile: logFile(program.dataDir, program.logName),
    ...(program.removedWithParent === undefined ? {} : { removedWithParent: program.removedWithParent }),
  });
}
