/** The Java and the Maven of this machine. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FreshetError } from '../base/errors.ts';

const run = promisify(execFile);

/** Kafka 4 needs it. */
const JAVA_LEAST = 17;

export interface Java {
  readonly command: string;
  /** As Java states it, `17.0.15+6`: what is stored for one build of Java fits no other. */
  readonly version: string;
}

/** The Java of JAVA_HOME, else the one on the PATH. */
export async function findJava(env: NodeJS.ProcessEnv = process.env): Promise<Java> {
  const command = env['JAVA_HOME'] ? join(env['JAVA_HOME'], 'bin', 'java') : 'java';
  const { stdout, stderr } = await tool(command, ['-XshowSettings:properties', '-version'], env, {
    name: 'Java',
    remedy: `Install a Java runtime ${JAVA_LEAST} or newer (\`apt-get install openjdk-${JAVA_LEAST}-jre-headless\`) and put it on the PATH, or set JAVA_HOME.`,
  });
  const version = /java\.vm\.version = (\S+)/.exec(stdout + stderr)?.[1] ?? 'unknown';
  if (!(Number.parseInt(version, 10) >= JAVA_LEAST)) {
    throw new FreshetError('TOOL_MISSING', `Java ${JAVA_LEAST} or newer; ${command} is ${version}`, {
      remedy: `Install a Java runtime ${JAVA_LEAST} or newer and put it first on the PATH, or set JAVA_HOME.`,
    });
  }
  return { command, version };
}

/** Fails when there is no Maven to download with. */
export async function assertMaven(env: NodeJS.ProcessEnv = process.env): Promise<void> {
  await tool('mvn', ['-version'], env, {
    name: 'Maven',
    remedy: 'Install Apache Maven 3.6.3 or newer (`apt-get install maven`): the first start downloads Kafka with it.',
  });
}

async function tool(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { name, remedy }: { name: string; remedy: string },
): Promise<{ stdout: string; stderr: string }> {
  try {
    return await run(command, [...args], { env });
  } catch (error) {
    throw new FreshetError('TOOL_MISSING', `${name} (${command} cannot be started)`, { cause: error, remedy });
  }
}
